"""usage: memcached_file.py DIRECTORY: memcached with its memory in a file; the time by value stored."""

import os
import socket
import subprocess
import sys
import tempfile
import time

VALUES = 3000


def connect(path, server):
    while True:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(path)
            return client.makefile("rwb")
        except OSError:
            client.close()
            if server.poll() is not None:
                sys.exit("memcached does not start")
            time.sleep(0.01)


def main():
    os.mkdir(sys.argv[1])
    memory = os.path.join(sys.argv[1], "memory")
    with tempfile.TemporaryDirectory() as run:
        path = f"{run}/s"
        command = ["memcached", "-u", "root", "-m", "64", "-t", "2", "-e", memory, "-s", path]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            client = connect(path, server)
            begun = time.perf_counter()
            for number in range(VALUES):
                client.write(b"set key%d 0 0 200\r\n%s\r\n" % (number, b"v" * 200))
                client.flush()
                if client.readline() != b"STORED\r\n":
                    sys.exit("not stored")
            print((time.perf_counter() - begun) / VALUES * 1e6)
        finally:
            server.kill()
            server.wait()


main()
