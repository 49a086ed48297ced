//! Programs that work on files: coreutils, tar, git, gcc, perl, python.

mod programs;

use std::process::Command;

use preload_tests::or_skip;
use programs::same_output;

#[test]
fn coreutils() {
    same_output(
        &["sort", "sha256sum", "split", "shuf", "dd"],
        r#"
        seq 1 60000 >numbers
        shuf --random-source=numbers numbers >shuffled
        sort -n shuffled | cmp - numbers
        sort --parallel=2 -S 1M -T . shuffled | md5sum
        cp --sparse=always numbers copy
        cp -a copy preserved
        cat numbers shuffled | wc
        dd if=numbers of=written bs=4096 conv=fsync,notrunc status=none
        dd if=numbers of=direct bs=64k count=1 conv=sync oflag=dsync status=none
        split -b 100k numbers part.
        cat part.* | cmp - numbers
        tac numbers | head -n 3
        tail -c 100 numbers | od -c | tail -n 3
        truncate -s 1M sparse
        printf x | dd of=sparse seek=500000 bs=1 conv=notrunc status=none
        uniq -c shuffled | wc -l
        paste numbers shuffled | cut -f 2 | md5sum
        base64 numbers | base64 -d | cmp - numbers
        install -m 640 numbers installed
        ln numbers hard && ln -s numbers soft && mv hard moved
        tee teed <numbers >/dev/null
        factor 600851475143
        stat -c '%n %s %a %F' *
        sha256sum *
        cat missing 2>&1 || echo "exit $?"
        read -r first <numbers && echo "$first"
        "#,
    );
}

#[test]
fn tar() {
    same_output(
        &["tar", "gzip"],
        r#"
        mkdir tree && cd tree
        for i in 1 2 3 4 5; do mkdir d$i && seq 1 $((i * 5000)) >d$i/f; done
        truncate -s 4M sparse && printf end >>sparse
        cd ..
        tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -S -cf a.tar tree
        sha256sum a.tar
        gzip -n a.tar && sha256sum a.tar.gz
        mkdir out && tar -xzf a.tar.gz -C out
        diff -r tree out/tree
        tar -tzf a.tar.gz
        "#,
    );
}

#[test]
fn git() {
    same_output(
        &["git"],
        r#"
        export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='@1000000000 +0000' GIT_COMMITTER_DATE='@1000000000 +0000'
        export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a
        git init -q -b main r && cd r
        for i in 1 2 3 4 5 6; do
            seq $i 3000 >f$i && seq 1 $i >>f1 && git add . && git commit -q -m "commit $i"
        done
        git rev-parse HEAD
        git log --stat --oneline | tail -n 20
        git repack -q -a -d -f --window=5 && git fsck --full --strict
        git verify-pack -v .git/objects/pack/*.idx | tail -n 1
        git checkout -q -b side HEAD~3 && echo x >side && git add side && git commit -q -m side
        git merge -q -m merged main && git rev-parse HEAD^{tree}
        git clone -q . ../c && git -C ../c grep -c 2999
        git diff HEAD~1 | sha256sum
        git status --short
        "#,
    );
}

#[test]
fn gcc() {
    same_output(
        &["gcc"],
        r#"
        cat >main.c <<'EOF'
#include <stdio.h>
#include <math.h>
int main(void) { for (int i = 0; i < 5; i++) printf("%d %.6f\n", i, sqrt(i)); return 3; }
EOF
        gcc -O2 -Wall -c main.c -o main.o && sha256sum main.o
        gcc -g -flto -O2 main.c -lm -o main -Wl,--build-id=none
        gcc -O0 -fno-lto main.o -lm -o plain -Wl,--build-id=none && sha256sum plain
        ./main || echo "exit $?"
        ar rcD lib.a main.o && ranlib -D lib.a && sha256sum lib.a
        strip plain && sha256sum plain
        echo 'int main(void) { return x; }' >bad.c
        gcc bad.c 2>errors || echo "exit $?"
        grep -c error errors
        "#,
    );
}

/// Its `:mmap` layer reads through a shared mapping.
#[test]
fn perl() {
    same_output(
        &["perl"],
        r#"
        cat >script <<'EOF'
use strict; use warnings; use Digest::SHA qw(sha256_hex); use Fcntl qw(:flock SEEK_SET);
open my $out, '+>', 'data' or die; print $out "line $_\n" for 1 .. 20000;
flock($out, LOCK_EX) or die; $out->flush; seek $out, 100, SEEK_SET; sysread $out, my $some, 50;
open my $in, '<:mmap', 'data' or die; my ($n, $all) = (0, '');
while (<$in>) { $n++; $all .= $_ }
print "$n ", length $all, ' ', sha256_hex($all), "\n";
my $child = open(my $pipe, '-|') // die; if (!$child) { print "child\n"; exit 7 }
print <$pipe>; close $pipe; print $? >> 8, "\n";
opendir my $dir, '.' or die; print join(' ', sort grep !/^\./, readdir $dir), "\n";
EOF
        perl script
        "#,
    );
}

/// Debian's Python has its tests in a package of their own; another one may have them.
fn python_with_tests() -> Result<&'static str, String> {
    ["/usr/bin/python3", "python3"]
        .into_iter()
        .find(|python| {
            Command::new(python)
                .args(["-c", "import test.test_mmap"])
                .output()
                .is_ok_and(|run| run.status.success())
        })
        .ok_or_else(|| "no Python with test.test_mmap (libpython3.11-testsuite)".to_owned())
}

/// Python's own tests of its mmap module, which sync shared mappings.
#[test]
fn python_test_mmap() {
    let python = or_skip!(python_with_tests());
    let script = format!(
        "{python} -X faulthandler -m unittest -v test.test_mmap >report 2>&1 \
            && status=0 || status=$?
        sed 's/ in [0-9.]*s$//' report
        exit $status"
    );
    same_output(&["sed"], &script);
}

#[test]
fn python_store_and_flush() {
    same_output(
        &["python3"],
        r#"
        cat >script.py <<'EOF'
import hashlib, mmap, os, threading, subprocess, sys
size = 1 << 20
with open('f', 'wb+') as f:
    f.truncate(size)
    with mmap.mmap(f.fileno(), size) as m:
        def store(part):
            for page in range(part, size // mmap.PAGESIZE, 4):
                at = page * mmap.PAGESIZE
                m[at:at + 100] = bytes([page % 251]) * 100
                if page % 64 == part:
                    m.flush(at, mmap.PAGESIZE)
        threads = [threading.Thread(target=store, args=(i,)) for i in range(4)]
        for t in threads: t.start()
        for t in threads: t.join()
        m.flush()
        print(hashlib.sha256(open('f', 'rb').read()).hexdigest())
        if os.fork() == 0:
            m[0:5] = b'child'
            m.flush()
            os._exit(0)
        os.wait()
        print(os.pread(f.fileno(), 5, 0), m[0:5])
        m.resize(2 * size)
        m[size:size + 4] = b'more'
        m.flush()
        print(os.stat('f').st_size, len(m))
print(subprocess.run([sys.executable, '-c', 'print(open("f","rb").read(5))'], capture_output=True).stdout)
EOF
        python3 script.py
        "#,
    );
}
