"""What the programs of this folder share. Times are in microseconds."""

import statistics
import time

MOST = 100
SECONDS = 1.0


def value_of(number):
    """A value that no other step has: TDB and libmdbx write nothing where there is nothing new."""
    return b"%010d" % number * 10


def median_of(step):
    """The median of what `step(number)` takes, of as many as SECONDS allow, MOST at the most."""
    took, begun = [], time.perf_counter()
    while len(took) < MOST and time.perf_counter() - begun < SECONDS:
        start = time.perf_counter()
        step(len(took))
        took.append(time.perf_counter() - start)
    return statistics.median(took) * 1e6
