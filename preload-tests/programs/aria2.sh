# Downloads into a mapped file, by several connections, for each way to allocate it.
mkdir from && head -c 3000000 /dev/urandom >from/f
(cd from && exec python3 -u -m http.server 0 --bind 127.0.0.1) >log 2>&1 &
server=$!
until_it grep -q 'port [0-9]' log
port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' log)
for how in none prealloc trunc falloc; do
    code aria2c -q --no-conf --enable-mmap=true --file-allocation=$how -x4 -s4 -k 1M -o to "http://127.0.0.1:$port/f"
    cmp from/f to && rm to
done
kill $server
code_of $server
