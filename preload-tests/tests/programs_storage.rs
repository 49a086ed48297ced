//! Programs whose business is stored data: sqlite3, fio, xfs_io; java and node.

mod programs;

use programs::same_output;

#[test]
fn sqlite3() {
    same_output(
        &["sqlite3"],
        r#"
        schema='PRAGMA journal_mode=WAL; PRAGMA mmap_size=268435456; PRAGMA synchronous=FULL;
            CREATE TABLE t(id INTEGER PRIMARY KEY, who TEXT, data BLOB);
            CREATE INDEX i ON t(who);'
        fill() {
            echo ".timeout 60000"
            echo "PRAGMA mmap_size=268435456; PRAGMA synchronous=FULL;"
            for i in $(seq 1 20); do
                echo "BEGIN IMMEDIATE; WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<50)
                    INSERT INTO t(who, data) SELECT '$1-$i-' || x, zeroblob(200) FROM n; COMMIT;"
            done
        }
        sqlite3 db "$schema"
        fill a | sqlite3 db & first=$!
        fill b | sqlite3 db & second=$!
        wait $first; wait $second
        sqlite3 db "PRAGMA mmap_size=268435456; SELECT count(*), count(DISTINCT who), sum(length(data)) FROM t;
            DELETE FROM t WHERE data = x'00' OR who LIKE '%-3'; SELECT count(*) FROM t; PRAGMA integrity_check;
            PRAGMA wal_checkpoint(TRUNCATE); VACUUM; PRAGMA integrity_check;
            SELECT group_concat(who) FROM (SELECT who FROM t WHERE who LIKE '%-7-1%' ORDER BY who);"
        sqlite3 db .dump | grep -c INSERT
        sqlite3 db 'SELECT * FROM missing' 2>&1 || echo "exit $?"
        ls
        "#,
    );
}

/// Stores through mappings, syncs after every 8 stores, reads back and checks.
#[test]
fn fio_mmap() {
    same_output(
        &["fio"],
        r#"
        for how in randwrite randrw write; do
            fio --name=j --ioengine=mmap --rw=$how --bs=4k --size=2m --filename=f --fsync=8 \
                --verify=crc32c --do_verify=1 --verify_fatal=1 --randseed=1 --numjobs=1 \
                --thread --group_reporting >report 2>&1 || { cat report; exit 1; }
            grep -o 'err= *[0-9]*' report
        done
        fio --name=j --ioengine=mmap --rw=randwrite --bs=4k --size=1m --numjobs=2 --fdatasync=4 \
            --verify=crc32c --verify_fatal=1 --randseed=1 >report 2>&1 || { cat report; exit 1; }
        grep -o 'err= *[0-9]*' report
        "#,
    );
}

#[test]
fn xfs_io() {
    same_output(
        &["xfs_io"],
        r#"
        xfs_io -f -c 'truncate 256k' -c 'pwrite -q -S 0x11 0 64k' -c 'mmap -rw 0 128k' \
            -c 'mwrite -S 0x22 4090 10000' -c 'msync -s 0 128k' -c 'mread -v 4080 32' \
            -c 'pread -q 4080 32' -c 'mwrite -S 0x33 70000 3' -c 'msync -a 65536 8192' \
            -c 'msync -i 0 128k' -c 'mremap 64k' -c 'munmap' -c 'fsync' f
        sha256sum f
        # Two mappings of one file, synced through one of them, read through another descriptor.
        xfs_io -c 'mmap -rw 0 64k' -c 'mmap -rw 32k 64k' -c 'mwrite -S 0x44 40000 9000' \
            -c 'msync -s' -c 'mmap 0' -c 'msync -s 0 64k' -c 'munmap' f >mappings
        xfs_io -r -c 'pread -v 39990 20' f | grep :
        sha256sum f
        xfs_io -c 'mmap -r 0 64k' -c 'mread -v 0 16' -c 'msync -s 0 64k' f
        "#,
    );
}

#[test]
fn java() {
    same_output(
        &["java", "javac"],
        r#"
        cat >Store.java <<'EOF'
import java.nio.*; import java.nio.channels.*; import java.nio.file.*; import java.util.zip.CRC32;
import static java.nio.file.StandardOpenOption.*;
public class Store {
    public static void main(String[] a) throws Exception {
        int size = 1 << 20;
        try (FileChannel c = FileChannel.open(Path.of("f"), CREATE, READ, WRITE)) {
            MappedByteBuffer m = c.map(FileChannel.MapMode.READ_WRITE, 0, size);
            Thread[] threads = new Thread[4];
            for (int t = 0; t < 4; t++) {
                int part = t;
                threads[t] = new Thread(() -> {
                    for (int p = part; p < size / 4096; p += 4) {
                        m.putLong(p * 4096, p * 31L);
                        if (p % 64 == part) m.force(p * 4096, 4096);
                    }
                });
                threads[t].start();
            }
            for (Thread t : threads) t.join();
            m.force();
            CRC32 crc = new CRC32();
            crc.update(Files.readAllBytes(Path.of("f")));
            System.out.println(crc.getValue());
            ByteBuffer b = ByteBuffer.allocate(8);
            System.out.println(c.read(b, 5 * 4096) + " " + b.getLong(0));
        }
        System.gc();
        System.exit(5);
    }
}
EOF
        javac -J-XX:TieredStopAtLevel=1 -J-Xshare:auto Store.java
        java -Xmx64m -cp . Store || echo "exit $?"
        "#,
    );
}

#[test]
fn node() {
    same_output(
        &["node"],
        r#"
        cat >script.js <<'EOF'
const fs = require('fs'), crypto = require('crypto'), { Worker, isMainThread } = require('worker_threads');
if (!isMainThread) { fs.writeFileSync('from-worker', 'w'.repeat(70000)); return; }
fs.writeFileSync('f', Array.from({ length: 20000 }, (_, i) => `line ${i}\n`).join(''));
const hash = data => crypto.createHash('sha256').update(data).digest('hex');
console.log(hash(fs.readFileSync('f')));
const fd = fs.openSync('f', 'r+'), b = Buffer.alloc(64);
console.log(fs.readSync(fd, b, 0, 64, 1000), hash(b)); fs.fsyncSync(fd);
fs.createReadStream('f', { highWaterMark: 5000 }).on('data', d => fs.appendFileSync('g', d)).on('end', () => {
  console.log(hash(fs.readFileSync('g')));
  new Worker(__filename).on('exit', code => {
    console.log(code, fs.statSync('from-worker').size);
    console.log(require('child_process').execSync('cat from-worker | wc -c').toString().trim());
    process.exit(6);
  });
});
EOF
        node script.js || echo "exit $?"
        "#,
    );
}
