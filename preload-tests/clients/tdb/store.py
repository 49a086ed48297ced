"""TDB: a transaction a record, under fcntl locks."""

import os

import tdb
from client import acknowledge, hold, path, records

db = tdb.open(path("db"), flags=os.O_RDWR | os.O_CREAT)
for key, value in records():
    db.transaction_start()
    db.store(key.encode(), value.encode())
    db.transaction_commit()
    acknowledge(key, value)
hold()
db.close()
