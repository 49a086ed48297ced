mkdir tree
for i in 1 2 3 4 5 6 7 8; do seq 1 $((i * 4000)) >tree/f$i; done
truncate -s 2M tree/sparse
for compression in gzip zstd xz; do
    code mksquashfs tree $compression.sqfs -comp $compression -quiet -no-progress -processors 2 \
        -mkfs-time 0 -all-time 0 -all-root -noappend
    sha256sum $compression.sqfs
    code unsquashfs -quiet -no-progress -d out $compression.sqfs
    diff -r tree out && rm -r out
done
