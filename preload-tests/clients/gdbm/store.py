"""GDBM through its memory mapping; a sync after each record."""

import dbm.gnu

from client import acknowledge, hold, path, records

db = dbm.gnu.open(path("db"), "c")
db.sync()
for key, value in records():
    db[key] = value
    db.sync()
    acknowledge(key, value)
hold()
db.close()
