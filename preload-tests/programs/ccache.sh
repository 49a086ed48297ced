# Hits and misses; with the cache of inodes, which it maps shared and all its processes store to.
export CCACHE_DIR="$PWD/cache" CCACHE_INODECACHE=true CCACHE_TEMPDIR="$PWD/temporary"
for i in 1 2 3 4 5 6; do
    echo "#define X $i" >x$i.h
    printf '#include "x%d.h"\nint main(void) { return X; }\n' $i >x$i.c
done
sleep 2.1 # Only what is two seconds old is kept by its inode.
for round in 1 2 3; do
    for i in 1 2 3 4 5 6; do
        ccache gcc -c x$i.c -o x$i.$round.o &
    done
    wait
done
for i in 1 2 3 4 5 6; do
    gcc x$i.3.o -o x && code ./x
    cmp x$i.1.o x$i.3.o
done
# Counters of processes that end at once may miss one.
ccache --print-stats | grep '^internal_error'
ccache --print-stats | awk '/cache_hit/ { hits += $2 } END { print "hits:", (hits >= 9 ? "most" : hits) }'
