"""usage: mdbx_commits.py DIRECTORY MAP-MIB: the median of a commit."""

import sys

import mdbx
from timing import median_of, value_of

env = mdbx.Env(
    sys.argv[1],
    flags=mdbx.MDBXEnvFlags.MDBX_WRITEMAP,
    maxdbs=2,
    geometry=mdbx.Geometry(size_upper=int(sys.argv[2]) << 20),
)


def commit(number):
    with env.rw_transaction() as transaction:
        with transaction.open_map() as table:
            table.put(transaction, b"key %d" % (number % 50), value_of(number))
            transaction.commit()


took = median_of(commit)
env.close()
print(took)
