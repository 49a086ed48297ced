"""What real programs pay: the rounds of `scripts/bench --programs`, and their table in Markdown.

usage: programs.py NAME=DIRECTORY... (the environment says where the libraries and guests are)
"""

import os
import shutil
import statistics
import subprocess
import sys

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SHIM = {"LD_PRELOAD": os.environ["KEEPMYDATA_LIB"]}
NAIVE = {"LD_PRELOAD": os.environ["NAIVE_LIB"]}
CONTENDERS = {
    "native": {},
    "by hand": {**NAIVE, "NAIVE_KEEP": "1"},
    "keepmydata INVALIDATE=off": {**SHIM, "KEEPMYDATA_INVALIDATE": "off"},
    "INVALIDATE=dirty": {**SHIM, "KEEPMYDATA_INVALIDATE": "dirty"},
    "by hand, with drop": NAIVE,
    "keepmydata": SHIM,
}

COMMITS = """
import lmdb, statistics, sys, time
env = lmdb.open(sys.argv[1], map_size=int(sys.argv[2]) << 20, writemap=True)
took, i, begun = [], 0, time.perf_counter()
while i < 100 and time.perf_counter() - begun < 2:
    i += 1
    start = time.perf_counter()
    with env.begin(write=True) as txn:
        txn.put(b"key %d" % (i % 50), b"value" * 20)
    took.append(time.perf_counter() - start)
env.close()
print(statistics.median(took) * 1e6)
"""


def run(command, environment):
    """The numbers that the command prints."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return [float(number) for number in done.stdout.split()]


def commits(directory, mib):
    path = os.path.join(directory, "lmdb")

    def once(environment):
        shutil.rmtree(path, ignore_errors=True)
        return run([os.environ["PYTHON_LMDB"], "-c", COMMITS, path, str(mib)], environment)

    return once


def sizes(directory, gib):
    path = os.path.join(directory, "sizes")
    return lambda environment: run([os.environ["SIZES"], path, str(gib), "21"], environment)


def medians(once):
    """Each contender's, which take turns."""
    took = {name: [] for name in CONTENDERS}
    for _ in range(ROUNDS):
        for name, environment in CONTENDERS.items():
            took[name].append(once(environment))
    for values in took.values():
        yield " / ".join(f"{statistics.median(each):.0f}" for each in zip(*values))


def main():
    print("| us | " + " | ".join(CONTENDERS) + " |")
    print("|---|" + "--:|" * len(CONTENDERS))
    for argument in sys.argv[1:]:
        name, directory = argument.split("=", 1)
        if os.environ.get("PYTHON_LMDB"):
            for mib in [4, 256, 4096, 16384]:
                row = " | ".join(medians(commits(directory, mib)))
                print(f"| {name}: python-lmdb, map of {mib} MiB, commit | {row} |", flush=True)
        for gib in [1, 16, 400, 16384]:
            row = " | ".join(medians(sizes(directory, gib)))
            print(f"| {name}: 1 MiB under {gib} GiB, mmap / msync / munmap | {row} |", flush=True)


main()
