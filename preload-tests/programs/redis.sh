# Its two ways to keep data, each written anew by a fork child, and read again after a restart and after kill -9.
talk() { redis-cli -s "$RUN/socket" "$@"; }
saved() { talk info persistence | grep -Eq '(bgsave|rewrite)_in_progress:1' && return 1 || return 0; }
start() {
    redis-server --port 0 --unixsocket "$RUN/socket" --dir "$PWD" --save "" --appendonly "$append" --logfile log &
    server=$!
    until_it talk ping
    until_it sh -c "redis-cli -s '$RUN/socket' ping | grep -q PONG"
}
for append in no yes; do
    echo "appendonly $append"
    start
    for i in $(seq 200); do echo "set key$i $i"; done | talk | sort | uniq -c
    talk save
    talk bgsave | cut -d' ' -f1
    until_it saved
    [ $append = no ] || { talk bgrewriteaof | cut -d' ' -f1; until_it saved; }
    talk set last 1
    [ $append = yes ] || talk save
    look $server | grep -v jemalloc # As many as there happen to be arenas.
    kill -KILL $server
    code_of $server
    rm -f "$RUN/socket"
    start
    talk dbsize
    talk get key200
    talk get last
    talk shutdown
    code_of $server
    grep -cE 'rror|WARNING.*fork|crash' log || :
    ls
done
redis-check-rdb dump.rdb | tail -1 | sed 's/.*] //'
