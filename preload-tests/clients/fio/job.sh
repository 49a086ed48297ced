# The same job for both runs: $count writes of 4 KiB at places that the seed decides.
run() {
    fio --name=job --directory="$dir" --filename=f --ioengine=mmap --rw=randwrite --bs=4k \
        --size=4m --io_size="$((count * 4))k" --fsync="$((seed % 7 + 2))" --verify=crc32c \
        --verify_fatal=1 --randseed="$seed" --thread --minimal --verify_state_save=0 "$@" >&2
}
