"""PMDK's libpmem on a file that is no persistent memory: `pmem_msync` of what was stored."""

import ctypes

from client import FILE_SIZE, hold, path, store_lines

pmem = ctypes.CDLL("libpmem.so.1", use_errno=True)
pmem.pmem_map_file.restype = ctypes.c_void_p
pmem.pmem_errormsg.restype = ctypes.c_char_p
CREATE = 1
length = ctypes.c_size_t()
is_pmem = ctypes.c_int()
address = pmem.pmem_map_file(
    path("f").encode(), ctypes.c_size_t(FILE_SIZE), CREATE, 0o644, ctypes.byref(length), ctypes.byref(is_pmem)
)
if not address:
    raise SystemExit(pmem.pmem_errormsg().decode())
buffer = memoryview((ctypes.c_char * FILE_SIZE).from_address(address)).cast("B")


def flush(start, end):
    if pmem.pmem_msync(ctypes.c_void_p(address + start), ctypes.c_size_t(end - start)) != 0:
        raise SystemExit(pmem.pmem_errormsg().decode())


store_lines(buffer, flush)
hold()
