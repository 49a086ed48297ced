# fio's mmap engine; its own checksums, verified by another run.
dir=$1 count=$2 seed=$3 how=$4
. "$(dirname "$0")/job.sh"
run --do_verify=0 --end_fsync=1
echo "fio $count $seed"
[ "$how" != hold ] || { echo hold && exec sleep infinity; }
