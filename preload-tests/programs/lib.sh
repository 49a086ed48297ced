# For all scripts here; see README.md.

PATH=$PATH:/usr/sbin:/sbin

# until_it COMMAND...: waits until it succeeds, a minute at most.
until_it() {
    tries=1200
    until "$@" 2>/dev/null >&2; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { echo "waited in vain for: $*"; exit 99; }
        sleep 0.05
    done
}

# ended PID: whether there is no such process, or only its exit code.
ended() {
    [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status"
}

# code COMMAND...: runs it, and prints its exit code.
code() {
    status=0
    "$@" || status=$?
    echo "exit $status"
}

# code_of PID: waits for a child, and prints its exit code.
code_of() {
    status=0
    wait "$1" || status=$?
    echo "exit $status"
}

# look PID: what others see of a process: threads, children, open files.
look() {
    cat "/proc/$1/task/"*/comm | sort | uniq -c | sed 's/^ *\([0-9]*\) /thread \1 /'
    children=$(cat "/proc/$1/task/"*/children)
    for child in $children; do echo "child $(cat "/proc/$child/comm")"; done | sort
    # FUSE forgets a name that was looked up anew: "deleted" comes and goes natively too.
    for file in "/proc/$1/fd/"*; do readlink "$file" || :; done |
        sed "s/\[[0-9]*\]//; s/ (deleted)$//; s,^$PWD/,./,; s,^.*/keepmydata-tests-[0-9-]*/[0-9]*/,," |
        sort | uniq -c | sed 's/^ *\([0-9]*\) /open \1 /'
}
