# python-lmdb, several processes on one environment, some of them killed.
cat >many.py <<'PY'
import lmdb, os, signal, sys
SIZE = 64 << 20
def writer(number, out):
    env = lmdb.open("db", map_size=SIZE, writemap=True)
    for i in range(100000):
        key = b"%d-%06d" % (number, i)
        with env.begin(write=True) as txn:
            txn.put(key, key * 20)
        os.write(out, key + b"\n")
ends = {}
for number in range(3):
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        try:
            writer(number, theirs)
        finally:
            os._exit(1)
    os.close(theirs)
    ends[pid] = ours
acknowledged = []
for pid, end in ends.items():
    with os.fdopen(end, "rb") as lines:
        for _ in range(40):
            acknowledged.append(lines.readline().strip())
        os.kill(pid, signal.SIGKILL)
        acknowledged += [line.strip() for line in lines if line.endswith(b"\n")]
    print(os.WTERMSIG(os.waitpid(pid, 0)[1]))
env = lmdb.open("db", map_size=SIZE, writemap=True)
print("stale readers", env.reader_check() >= 0)
with env.begin() as txn:
    lost = [key for key in acknowledged if txn.get(key) != key * 20]
    print("enough", len(acknowledged) >= 120, "lost", lost)
with env.begin(write=True) as txn:
    txn.put(b"last", b"value")
env.sync(True)
env.close()
PY
code /usr/bin/python3 many.py
mdb_stat -e db | grep -c 'Map size'
mdb_dump db | grep -c ' 6c617374$'
