# PowerDNS's tool on its LMDB backend.
cat >pdns.conf <<CONF
launch=lmdb
lmdb-filename=$PWD/zones
lmdb-shards=4
lmdb-sync-mode=sync
CONF
util() { code pdnsutil --config-dir="$PWD" "$@" 2>&1; }
util create-zone example.org ns1.example.org
util add-record example.org www A 3600 192.0.2.1 192.0.2.2
for number in $(seq 1 8); do util add-record example.org "h$number" A "192.0.2.$number" | tail -n 1; done
util set-kind example.org primary
util increase-serial example.org
util rectify-zone example.org
util check-all-zones
util list-all-zones
util list-zone example.org | sort
util delete-rrset example.org h7 A
util list-zone example.org | grep -c h7 || :
util delete-zone example.org
util list-all-zones
ls
