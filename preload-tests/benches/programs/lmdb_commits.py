"""usage: lmdb_commits.py DIRECTORY MAP-MIB: the median of a commit."""

import sys

import lmdb
from timing import median_of, value_of

env = lmdb.open(sys.argv[1], map_size=int(sys.argv[2]) << 20, writemap=True)


def commit(number):
    with env.begin(write=True) as transaction:
        transaction.put(b"key %d" % (number % 50), value_of(number))


took = median_of(commit)
env.close()
print(took)
