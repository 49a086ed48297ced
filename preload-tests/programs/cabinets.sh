# Key-value stores that map their files, by their own tools.
stages() { grep -i -c '^ok$'; }
echo kyoto
kchashtest order -th 2 -tran a.kch 300 | stages
kchashtest wicked -th 2 -it 2 b.kch 500 | stages
kctreetest queue a.kct 300 2>/dev/null | stages || true
code kchashmgr check a.kch
for i in $(seq 50); do kchashmgr set c.kch key$i value$i 2>/dev/null || kchashmgr create c.kch; done
kchashmgr list c.kch | sort | sha256sum
echo tokyo
tchtest write a.tch 2000 | stages
tchtest wicked b.tch 2000 | stages
tcbtest write a.tcb 2000 | stages
tcftest write a.tcf 2000 16 | stages
sha256sum a.tch a.tcb a.tcf
echo tdb
echo "create a.tdb" | tdbtool >/dev/null
for i in $(seq 100); do echo "insert k$i v$i$i"; done | tdbtool a.tdb >/dev/null
for i in $(seq 1 2 100); do echo "delete k$i"; done | tdbtool a.tdb >/dev/null
echo check | tdbtool a.tdb | grep -c OK || true
tdbdump a.tdb | sort | sha256sum
tdbbackup a.tdb
code tdbbackup -v a.tdb
echo gdbm
for i in $(seq 100); do echo "store k$i v$i$i"; done | gdbmtool a.gdbm
for i in $(seq 1 2 100); do echo "delete k$i"; done | gdbmtool a.gdbm
printf 'reorganize\nsync\ncount\n' | gdbmtool a.gdbm
gdbm_dump a.gdbm - | grep -v '^#' | sha256sum
echo rrd
rrdtool create a.rrd --start 1000000000 --step 60 DS:x:GAUGE:120:0:U RRA:AVERAGE:0.5:1:1000 RRA:MAX:0.5:10:100
for i in $(seq 200); do echo "update a.rrd $((1000000000 + 60 * i)):$i"; done | rrdtool - | grep -c OK
rrdtool dump a.rrd | sha256sum
rrdtool lastupdate a.rrd
ls
