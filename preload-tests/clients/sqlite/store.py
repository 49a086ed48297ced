"""SQLite: write-ahead log, memory-mapped reads, synchronous=FULL; the log's index is a shared
mapping. Checkpoints copy the log into the database every 50 pages."""

import sqlite3

from client import acknowledge, hold, path, records

db = sqlite3.connect(path("db"), isolation_level=None)
db.executescript(
    "PRAGMA journal_mode=WAL; PRAGMA mmap_size=268435456; PRAGMA synchronous=FULL;"
    "PRAGMA wal_autocheckpoint=50; CREATE TABLE t(key TEXT PRIMARY KEY, value TEXT);"
)
for key, value in records():
    db.execute("INSERT INTO t VALUES (?, ?)", (key, value))
    db.execute("SELECT count(*), max(length(value)) FROM t").fetchall()
    acknowledge(key, value)
hold()
db.close()
