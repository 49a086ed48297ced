# Small inits: what they reap and pass on, as the first process of a container and as one of many. What they start maps a
# file, and leaves children behind.
gcc -w -O1 "$SOURCES/mapper.c" -o mapper 2>/dev/null || exit 99
cat >work <<'SH'
rm -f file
./mapper file >mapped 2>&1 &
mapper=$!
until grep -q found file 2>/dev/null; do sleep 0.05; done
kill $mapper
wait $mapper
echo "mapper $?"
(sh -c 'sleep 0.2' &)
echo worked
exit 5
SH
for init in tini "tini -s" "tini -g" dumb-init "dumb-init -c"; do
    echo "$init"
    code $init -- sh work
    code $init -- sh -c 'kill -9 $$'
    code unshare -pf --mount-proc $init -- sh work
    unshare -pf --mount-proc $init -- sh -c '
        (sh -c "exit 3" &) ; sleep 0.3
        for p in /proc/[0-9]*; do read -r name <$p/comm && echo $name; done >names 2>/dev/null; grep -v -e keepmydata -e "^sh$" names'
    $init -- sleep 60 &
    pid=$!
    until_it sh -c "cat /proc/$pid/task/$pid/children | xargs -n1 | while read c; do grep -q sleep /proc/\$c/comm && exit; done"
    kill -TERM $pid
    code_of $pid
done
