"""What real programs pay: the rounds of `scripts/bench --programs`, and their tables in Markdown on standard output.

usage: main.py GLOB NAME=DIRECTORY... (the environment says where libraries and guests are)

Rows whose names match GLOB are measured, on those of the filesystems that they are meant for.
"""

import fnmatch
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
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
# How much memory is taken does not depend on chance, nor on what is dropped.
FRUGAL = ["native", "by hand", "keepmydata"]

BEGUN = time.monotonic()


def say(text):
    print(f"{time.monotonic() - BEGUN:4.0f} s: {text}", file=sys.stderr, flush=True)


class Row:
    """`command` is given a path on the filesystem, at which there is nothing."""

    def __init__(self, what, on, command, needs=None):
        self.what, self.on, self.command, self.needs = what, on, command, needs

    def name(self, filesystem):
        return f"{filesystem}: {self.what}"

    def missing(self):
        """What it needs and is not there."""
        return self.needs and not self.needs()


def python(script, *arguments):
    return lambda path: [os.environ["PYTHON"], os.path.join(HERE, script), path, *map(str, arguments)]


def guest(name, *arguments):
    return lambda path: [os.path.join(os.environ["GUESTS"], name), path, *map(str, arguments)]


def java(path):
    return ["java", "-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp", os.environ["GUESTS"], "Force", path]


def module(name):
    """Whether PYTHON has it."""
    command = [os.environ["PYTHON"], "-c", f"import {name}"]
    return lambda: subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def program(name):
    return lambda: shutil.which(name) is not None


BOTH = ["ext4", "fuse"]
DISKS = ["ext4", "xfs", "btrfs"]
ROWS = [
    *(
        Row(f"python-lmdb, map of {mib} MiB, commit", BOTH, python("lmdb_commits.py", mib), module("lmdb"))
        for mib in [4, 256, 4096, 16384]
    ),
    *(
        Row(f"python-lmdb, {count} processes, commit", DISKS, python("lmdb_processes.py", count), module("lmdb"))
        for count in [1, 2, 4, 8]
    ),
    Row("libmdbx, map of 256 MiB, commit", [*DISKS, "fuse"], python("mdbx_commits.py", 256), module("mdbx")),
    *(
        Row(f"1 MiB under {gib} GiB, mmap / msync / munmap", BOTH, guest("bench_sizes", gib, 21))
        for gib in [1, 16, 400, 16384]
    ),
    Row("Java, 3 GiB, force of 8 bytes / of all", BOTH, java, program("javac")),
    Row("slapd, 2,000 adds, each", BOTH, python("slapd_adds.py"), program("slapd")),
    Row("TDB, transaction", BOTH, python("tdb_transactions.py"), module("tdb")),
    Row("gdbm, record and sync", BOTH, python("gdbm_syncs.py"), module("dbm.gnu")),
    Row("memcached -e, value", BOTH, python("memcached_file.py"), program("memcached")),
    Row("process that maps, stores, syncs, ends", BOTH, guest("bench_spawn", 100)),
    Row("1,000 x pread / write / pwrite / open / fsync / map", BOTH, guest("bench_calls")),
]
MEMORY = [
    Row("10,000 files mapped", BOTH, guest("bench_memory", "files")),
    Row("1 TiB mapped, 10,000 pages of it dirty", BOTH, guest("bench_memory", "sparse")),
    Row("4 GiB dirty", ["fuse"], guest("bench_memory", "dirty")),
]


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)


def times(row, path, environment):
    """The numbers that the command prints."""
    try:
        done = subprocess.run(
            row.command(path),
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        remove(path)
    if done.returncode != 0:
        sys.exit(f"{row.what}: exit code {done.returncode} with {environment}: {done.stderr}")
    return [float(number) for number in done.stdout.split()]


def memory(row, path, environment):
    """The most of its own, and of page tables, that the process has at a time, in MiB. What the shim's helper takes is
    in it: they share their memory."""
    os.mkdir(path)
    most = [0, 0]
    try:
        process = subprocess.Popen(row.command(path), env={**os.environ, **environment})
        while process.poll() is None:
            with open(f"/proc/{process.pid}/status") as status:
                fields = dict(line.split(":", 1) for line in status)
            for i, field in enumerate(["RssAnon", "VmPTE"]):
                most[i] = max(most[i], int(fields.get(field, "0").split()[0]) / 1024)
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
        remove(path)
    if process.returncode != 0:
        sys.exit(f"{row.what}: exit code {process.returncode} with {environment}")
    return most


def medians(measure, row, path, contenders, rounds, form):
    """Each contender's, which take turns."""
    if rounds > 1:
        # What it reads is in the page cache then, and what it is measured on awake.
        for name in [contenders[0], contenders[-1]]:
            measure(row, path, CONTENDERS[name])
    took = {name: [] for name in contenders}
    for _ in range(rounds):
        for name in contenders:
            took[name].append(measure(row, path, CONTENDERS[name]))
    for values in took.values():
        yield " / ".join(f"{statistics.median(each):{form}}" for each in zip(*values))


def table(unit, measure, rows, contenders, rounds, form):
    print(f"| {unit} | " + " | ".join(contenders) + " |")
    print("|---|" + "--:|" * len(contenders), flush=True)
    for number, (filesystem, directory, row) in enumerate(rows, 1):
        name = row.name(filesystem)
        if row.missing():
            say(f"{number} of {len(rows)}: {name}: left out, not installed")
            continue
        say(f"{number} of {len(rows)}: {name}")
        cells = medians(measure, row, os.path.join(directory, "row"), contenders, rounds, form)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main():
    glob, *filesystems = sys.argv[1:]
    # A descriptor a file, of the program's or of somebody's beside it.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def chosen(rows):
        named = [argument.split("=", 1) for argument in filesystems]
        all_of = [(name, directory, row) for row in rows for name, directory in named if name in row.on]
        return [one for one in all_of if fnmatch.fnmatch(one[2].name(one[0]), glob)]

    rows, of_memory = chosen(ROWS), chosen(MEMORY)
    if not rows and not of_memory:
        sys.exit(f"no row matches {glob}")
    if rows:
        table("us", times, rows, list(CONTENDERS), ROUNDS, ".0f")
    if of_memory:
        print()
        table("MiB of its own / of page tables", memory, of_memory, FRUGAL, 1, ".1f")
    say("done")


main()
