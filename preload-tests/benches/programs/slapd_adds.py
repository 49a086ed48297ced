"""usage: slapd_adds.py DIRECTORY: slapd with a writable mapping is given 2,000 entries, or as many as it takes in some
seconds; the time by entry."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.parse

ENTRIES = 2000
SECONDS = 2
CONFIGURATION = """\
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {run}/pid
database mdb
maxsize 67108864
envflags writemap
suffix "dc=example"
rootdn "cn=admin,dc=example"
rootpw secret
directory {db}
index objectClass eq
"""


def entries():
    yield "dn: dc=example\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: example\n"
    for number in range(ENTRIES - 1):
        yield f"dn: cn=c{number},dc=example\nobjectClass: person\ncn: c{number}\nsn: s{number}\n"


def main():
    # The clients are the same for all.
    bare = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    os.mkdir(sys.argv[1])
    with tempfile.TemporaryDirectory() as run:
        with open(f"{run}/conf", "w") as conf:
            conf.write(CONFIGURATION.format(run=run, db=sys.argv[1]))
        with open(f"{run}/entries", "w") as file:
            file.write("\n".join(entries()))
        url = "ldapi://" + urllib.parse.quote(f"{run}/s", safe="")
        server = subprocess.Popen(["/usr/sbin/slapd", "-h", url, "-f", f"{run}/conf", "-d", "0"], **quiet)
        try:
            look = ["ldapsearch", "-x", "-H", url, "-s", "base", "-b", ""]
            while subprocess.run(look, env=bare, **quiet).returncode != 0:
                if server.poll() is not None:
                    sys.exit("slapd does not start")
                time.sleep(0.02)
            admin = ["-x", "-H", url, "-D", "cn=admin,dc=example", "-w", "secret"]
            begun = time.perf_counter()
            client = subprocess.Popen(
                ["ldapadd", *admin, "-f", f"{run}/entries"],
                env=bare,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            added = 0
            for line in client.stdout:
                # One line as each is sent, and an empty one when it was added.
                added += line == b"\n"
                if time.perf_counter() - begun > SECONDS:
                    client.terminate()
                    break
            print((time.perf_counter() - begun) / added * 1e6)
            client.wait()
        finally:
            server.terminate()
            server.wait()


main()
