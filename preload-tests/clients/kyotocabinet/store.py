"""Kyoto Cabinet's hash database, which maps 64 MiB over a smaller file. The variant `nosync`
never asks for more than the library does by itself."""

import kyotocabinet
from client import VARIANT, acknowledge, hold, path, records

db = kyotocabinet.DB()
if not db.open(path("db.kch"), db.OWRITER | db.OCREATE):
    raise SystemExit(str(db.error()))
for key, value in records():
    done = db.set(key, value) and (VARIANT == "nosync" or db.synchronize(True))
    if not done:
        raise SystemExit(str(db.error()))
    acknowledge(key, value)
hold()
db.close()
