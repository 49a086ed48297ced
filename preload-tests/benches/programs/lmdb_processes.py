"""usage: lmdb_processes.py DIRECTORY PROCESSES: so many commit to one file; the time by all commits of all of them."""

import subprocess
import sys
import time

import lmdb

SECONDS = 0.5


def work(path, number):
    env = lmdb.open(path, map_size=64 << 20, writemap=True)
    print("ready", flush=True)
    sys.stdin.readline()
    commits, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < SECONDS:
        with env.begin(write=True) as transaction:
            transaction.put(b"%d %d" % (number, commits % 50), b"value" * 20)
        commits += 1
    took = time.perf_counter() - begun
    env.close()
    print(commits, took, flush=True)


def main():
    path, processes = sys.argv[1], int(sys.argv[2])
    lmdb.open(path, map_size=64 << 20, writemap=True).close()
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, path, str(number), "worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    for worker in workers:
        worker.stdout.readline()
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    done = [worker.communicate()[0].split() for worker in workers]
    commits = sum(int(count) for count, _ in done)
    print(max(float(took) for _, took in done) / commits * 1e6)


if len(sys.argv) == 4:
    work(sys.argv[1], int(sys.argv[2]))
else:
    main()
