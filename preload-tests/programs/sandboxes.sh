# Sandboxes that end a program at system calls that it natively does not make: by who runs it, and by itself.
cat >store.py <<'PY'
import mmap, os, sys
with open(sys.argv[1], "r+b") as f:
    with mmap.mmap(f.fileno(), 8192) as m:
        for n in range(3):
            m[4090:4100] = b"%d" % n * 10
            m.flush()
            print(m[4090:4100], os.pread(f.fileno(), 10, 4090))
PY
# filter CALL...: what ends a process at these.
filter() {
    numbers=$(for call; do echo "SYS_$call"; done | gcc -E -P -include sys/syscall.h -x c - | grep '^[0-9]*$')
    /usr/bin/python3 -c '
import struct, sys
calls = [int(number) for number in sys.argv[1:]]
filter = struct.pack("HBBI", 0x20, 0, 0, 0)
for at, call in enumerate(calls):
    filter += struct.pack("HBBI", 0x15, len(calls) - at, 0, call)
filter += struct.pack("HBBI", 6, 0, 0, 0x7fff0000) + struct.pack("HBBI", 6, 0, 0, 0x80000000)
sys.stdout.buffer.write(filter)' $numbers
}
truncate -s 8192 file
run() {
    echo "$1"
    shift
    code "$@" /usr/bin/python3 "$PWD/store.py" "$PWD/file" 2>&1
    sha256sum file
}
for calls in "userfaultfd process_vm_readv kcmp" "pidfd_open pidfd_getfd" "statx name_to_handle_at" \
    "close_range sched_setaffinity setsid"; do
    filter $calls >filter
    run "bwrap: $calls" bwrap --dev-bind / / --seccomp 9 9<filter
done
run "firejail" firejail --quiet --noprofile --seccomp --seccomp-error-action=kill
run "firejail, without the right to more" firejail --quiet --noprofile --caps.drop=all --nonewprivs --seccomp \
    --seccomp-error-action=kill
echo "file and man, in sandboxes of their own"
code file -b /bin/true
man -P cat ls | sha256sum
