# stress-ng's own verification of what it mapped and synced, in files that it unlinks.
dir=$1 count=$2
cd "$dir"
stress-ng --temp-path . --verify --no-rand-seed \
    --msync 2 --msync-bytes 1m --msync-ops "$((count * 2))" \
    --mmap 2 --mmap-file --mmap-bytes 256k --mmap-ops "$((count / 8))" --mmap-async --timeout 60 >&2
echo "stress-ng verified"
