# xfs_io: a line of one letter, of a length that no other line has, and msync of that range.
dir=$1 count=$2 seed=$3 how=$4
file=$dir/f page=$(getconf PAGESIZE)
xfs_io -f -c 'truncate 4m' "$file"
at=0 n=0
while [ "$n" -lt "$count" ]; do
    length=$((seed % 90 + 3000 + n * 91))
    [ "$((at + length + 1))" -le 4194304 ] || break
    code=$((97 + n % 26))
    xfs_io -c 'mmap -rw 0 4m' -c "mwrite -S $code $at $length" -c "mwrite -S 10 $((at + length)) 1" \
        -c "msync -s $((at / page * page)) $((at % page + length + 1))" "$file"
    printf "%${length}s\n" '' | tr ' ' "$(printf "\\$(printf %o "$code")")"
    at=$((at + length + 1)) n=$((n + 1))
done
[ "$how" != hold ] || { echo hold && exec sleep infinity; }
