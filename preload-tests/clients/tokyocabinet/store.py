"""Tokyo Cabinet's hash database. The variant `nosync` never asks for more than the library
does by itself."""

import ctypes

from client import VARIANT, acknowledge, hold, path, records

tc = ctypes.CDLL("libtokyocabinet.so.9")
tc.tchdbnew.restype = ctypes.c_void_p
tc.tchdberrmsg.restype = ctypes.c_char_p
db = ctypes.c_void_p(tc.tchdbnew())
WRITER, CREATE = 1 << 1, 1 << 2


def check(done):
    if not done:
        raise SystemExit(tc.tchdberrmsg(tc.tchdbecode(db)).decode())


check(tc.tchdbopen(db, path("db.tch").encode(), WRITER | CREATE))
for key, value in records():
    check(tc.tchdbput2(db, key.encode(), value.encode()))
    if VARIANT != "nosync":
        check(tc.tchdbsync(db))
    acknowledge(key, value)
hold()
check(tc.tchdbclose(db))
