"""Python's mmap: `flush()` of the whole, or in the variant `partial` of the pages stored to."""

import mmap

from client import FILE_SIZE, VARIANT, hold, path, store_lines

with open(path("f"), "wb+") as file:
    file.truncate(FILE_SIZE)
    buffer = mmap.mmap(file.fileno(), FILE_SIZE)


def flush(start, end):
    if VARIANT == "partial":
        first = start // mmap.PAGESIZE * mmap.PAGESIZE
        buffer.flush(first, end - first)
    else:
        buffer.flush()


store_lines(buffer, flush)
hold()
