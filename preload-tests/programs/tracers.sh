# gdb, gcore, ltrace and strace look at a program that stores and syncs meanwhile.
gcc -g -O0 -o mapper "$SOURCES/mapper.c"
start() {
    rm -f ready
    ./mapper file >ready &
    watched=$!
    until_it grep -q ready ready
}
start
look $watched
# Of a frame in the shim gdb would take Rust for the language.
gdb -nx -batch -p $watched -ex 'set language c' -ex 'print stored' -ex 'info threads' -ex detach 2>errors | grep -E '\$1|detached|^\*' |
    sed 's/0x[0-9a-f]*/ADDRESS/; s/[0-9][0-9]* *(LWP.*//; s/(LWP.*//; s/process [0-9]*/process/; s/Thread.*//'
gcore -o core $watched >gcore 2>&1 || cat gcore
gdb -nx -batch mapper core.$watched -ex 'set language c' -ex 'print stored' 2>/dev/null | grep '\$1' | sed 's/0x[0-9a-f]*/ADDRESS/'
kill -TERM $watched
code_of $watched
start
timeout 60 strace -qq -o trace -e trace=exit_group -p $watched & tracer=$!
until_it grep -q "TracerPid:.*[1-9]" /proc/$watched/status
kill -TERM $watched
code_of $watched
wait $tracer || :
sed 's/si_pid=[0-9]*/si_pid=PID/' trace
