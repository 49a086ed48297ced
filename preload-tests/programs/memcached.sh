# Its memory file, with all memory locked, outlives a restart.
cat >talk.py <<'PY'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
f = s.makefile("rwb")
if sys.argv[2] == "set":
    for i in range(3000):
        value = b"%d" % i * 50
        f.write(b"set key%d 0 0 %d\r\n%s\r\n" % (i, len(value), value))
        f.flush()
        assert f.readline() == b"STORED\r\n"
    print("3000 stored")
else:
    there = 0
    for i in range(3000):
        f.write(b"get key%d\r\n" % i)
        f.flush()
        line = f.readline()
        if line != b"END\r\n":
            assert f.readline() == b"%d" % i * 50 + b"\r\n"
            assert f.readline() == b"END\r\n"
            there += 1
    print(there, "there")
PY
start() {
    memcached $lock -u root -m 64 -t 4 -e "$PWD/memory" -s "$RUN/socket" 2>>errors &
    server=$!
    until_it test -S "$RUN/socket"
}
for lock in "" -k; do
    echo "locked: $lock"
    start
    python3 talk.py "$RUN/socket" set
    look $server
    kill -USR1 $server
    code_of $server
    ls
    # It takes only what was left in the past, and its clock, by which it wrote when, is ahead.
    sleep 4
    rm -f "$RUN/socket"
    start
    python3 talk.py "$RUN/socket" get
    kill -TERM $server
    code_of $server
    rm -f memory* "$RUN/socket"
done
