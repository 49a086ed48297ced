"""A round-robin database, an update a minute of its time."""

import rrdtool
from client import COUNT, SEED, acknowledge, hold, path

START = 1_000_000_000 // 60 * 60
rrdtool.create(
    path("db.rrd"), "--start", str(START), "--step", "60", "DS:x:GAUGE:120:U:U", "RRA:LAST:0.5:1:100000",
)
for number in range(1, min(COUNT, 99_999) + 1):
    time, value = START + 60 * number, number * 7919 % 1000 + SEED % 1000 * 1000
    rrdtool.update(path("db.rrd"), f"{time}:{value}")
    acknowledge(f"{time}:", f"{value:.10e}")
hold()
