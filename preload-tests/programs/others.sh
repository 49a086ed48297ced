# Programs that change who runs, and where, and run another.
cat >store.py <<'PY'
import mmap, os, sys
with open(sys.argv[1], "r+b") as f:
    with mmap.mmap(f.fileno(), 8192) as m:
        m[4090:4100] = b"0123456789"
        m.flush()
        print(m[4090:4100], os.pread(f.fileno(), 10, 4090), os.getuid(), os.getgid(), sorted(os.getgroups()))
PY
chmod 755 . store.py
for run in \
    'setpriv --reuid 65534 --regid 65534 --clear-groups' \
    'setpriv --no-new-privs --bounding-set -all --inh-caps -all' \
    'setpriv --pdeathsig TERM' \
    'sudo -n -u nobody' \
    'sudo -n --preserve-env -g nogroup' \
    'bwrap --bind / / --dev-bind /dev /dev --die-with-parent' \
    'bwrap --bind / / --unshare-pid --unshare-net --unshare-ipc --proc /proc --dev /dev' \
    'unshare --mount --pid --fork --mount-proc' \
    'unshare --user --map-root-user' \
    'nsenter --target self --mount' \
    'chroot /' \
    'timeout 50' 'nice -n 5' 'ionice -c 3' 'taskset -c 0' 'prlimit --nofile=100' 'setsid --wait' 'stdbuf -o0' 'script -qec'
do
    [ "$run" != 'nsenter --target self --mount' ] || run="nsenter --target $$ --mount"
    echo "$run" | sed "s/--target $$/--target self/"
    truncate -s 0 file && truncate -s 8192 file && chmod 666 file
    case $run in
    script*) code script -qec "/usr/bin/python3 $PWD/store.py $PWD/file" /dev/null | tr -d '\r' ;;
    *) code $run /usr/bin/python3 "$PWD/store.py" "$PWD/file" ;;
    esac 2>&1
    sha256sum file
done
truncate -s 0 file && truncate -s 8192 file && chown nobody file
echo su
code su nobody -s /bin/sh -c "/usr/bin/python3 $PWD/store.py $PWD/file" 2>&1
echo su -m
code su -m nobody -s /bin/sh -c "/usr/bin/python3 $PWD/store.py $PWD/file" 2>&1
sha256sum file
