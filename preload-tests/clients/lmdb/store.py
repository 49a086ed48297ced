"""LMDB with MDB_WRITEMAP: a transaction a record. The variant `map_async` commits with
MS_ASYNC, which promises nothing, and acknowledges after a sync by force."""

import lmdb
from client import VARIANT, acknowledge, hold, path, records

env = lmdb.open(path("db"), map_size=64 << 20, writemap=True, map_async=VARIANT == "map_async")
for key, value in records():
    with env.begin(write=True) as txn:
        txn.put(key.encode(), value.encode())
    if VARIANT == "map_async":
        env.sync(True)
    acknowledge(key, value)
hold()
env.close()
