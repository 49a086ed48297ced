"""usage: gdbm_syncs.py FILE: the median of a record and a sync."""

import dbm.gnu
import sys

from timing import median_of, value_of

db = dbm.gnu.open(sys.argv[1], "c")


def record(number):
    db[b"key %d" % (number % 50)] = value_of(number)
    db.sync()


took = median_of(record)
db.close()
print(took)
