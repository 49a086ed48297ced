"""usage: tdb_transactions.py FILE: the median of a transaction."""

import os
import sys

import tdb
from timing import median_of, value_of

db = tdb.open(sys.argv[1], flags=os.O_RDWR | os.O_CREAT)


def transaction(number):
    db.transaction_start()
    db.store(b"key %d" % (number % 50), value_of(number))
    db.transaction_commit()


took = median_of(transaction)
db.close()
print(took)
