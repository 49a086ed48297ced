"""What the clients in Python share: see README.md."""

import hashlib
import os
import random
import signal
import sys

DIR, COUNT, SEED, HOW = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
VARIANT = sys.argv[5] if len(sys.argv) > 5 else ""

# As long as the longest run of a client that fills a file of fixed size.
FILE_SIZE = 16 << 20


def path(name):
    return os.path.join(DIR, name)


def records():
    """Keys in order, and values of 1 to 6000 characters that the seed decides."""
    chance = random.Random(SEED)
    for number in range(COUNT):
        digits = hashlib.md5(b"%d %d" % (SEED, number)).hexdigest()
        length = chance.randint(1, 6000)
        yield f"k{number:06}", (digits * (length // 32 + 1))[:length]


def acknowledge(*fields):
    """Tells the recorder, in one write, what the library said is durable."""
    line = memoryview((" ".join(fields) + "\n").encode())
    while line:
        line = line[os.write(1, line) :]


def hold():
    """Called before anything is closed, which could sync once more."""
    if HOW == "hold":
        os.write(1, b"hold\n")
    while HOW == "hold":
        signal.pause()


def store_lines(buffer, flush):
    """Stores the records as lines one after the other, until the buffer is full;
    `flush(start, end)` makes that range durable."""
    at = 0
    for key, value in records():
        line = f"{key} {value}\n".encode()
        if at + len(line) > len(buffer):
            break
        buffer[at : at + len(line)] = line
        flush(at, at + len(line))
        acknowledge(key, value)
        at += len(line)
