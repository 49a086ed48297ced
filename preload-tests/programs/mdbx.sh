# libmdbx with a writable mapping, a writer killed.
cat >many.py <<'PY'
import os, signal, sys
import mdbx
FLAGS = mdbx.MDBXEnvFlags.MDBX_WRITEMAP
def open_it():
    return mdbx.Env("db", flags=FLAGS, maxdbs=2, geometry=mdbx.Geometry(size_upper=64 << 20))
ours, theirs = os.pipe()
pid = os.fork()
if pid == 0:
    env = open_it()
    for i in range(100000):
        key = b"%06d" % i
        with env.rw_transaction() as txn:
            with txn.open_map() as table:
                table.put(txn, key, key * 20)
                txn.commit()
        os.write(theirs, key + b"\n")
os.close(theirs)
with os.fdopen(ours, "rb") as lines:
    acknowledged = [lines.readline().strip() for _ in range(100)]
    os.kill(pid, signal.SIGKILL)
    acknowledged += [line.strip() for line in lines if line.endswith(b"\n")]
print(os.WTERMSIG(os.waitpid(pid, 0)[1]))
env = open_it()
with env.ro_transaction() as txn:
    with txn.open_map() as table:
        lost = [key for key in acknowledged if table.get(txn, key) != key * 20]
print("enough", len(acknowledged) >= 100, "lost", lost)
env.close()
PY
PYTHONPATH=$CACHE/python code /usr/bin/python3 many.py
