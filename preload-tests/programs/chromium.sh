# A page whose script makes what is printed.
cat >page.html <<'HTML'
<!doctype html><title>before</title><p id=p></p><script>
document.title = "after";
let sum = 0;
for (let i = 0; i < 100000; i++) sum += i % 7;
p.textContent = "sum " + sum;
localStorage.setItem("kept", "yes");
p.dataset.kept = localStorage.getItem("kept");
</script>
HTML
# Where no symbolic link can be made there can be no profile either, but the caches of one.
profile=$PWD/profile
ln -s page.html link 2>/dev/null || profile=$RUN/profile
draw() {
    code "$@" --headless --disable-gpu --disable-dev-shm-usage --no-first-run \
        --user-data-dir="$profile" --disk-cache-dir="$PWD/cache" --dump-dom "file://$PWD/page.html" 2>errors >dom
    cat dom
    grep -q '<title>after</title>.*data-kept="yes">sum 299995' dom || tail -n 5 errors >&2
    grep CRASHING errors >&2 || :
}
draw chromium --no-sandbox
draw chromium --no-sandbox
# It refuses to have sandboxes where its user is root.
user="unshare --user --map-user=1000 --map-group=1000"
! $user true 2>/dev/null || draw $user chromium
grep -q 'sum 299995' dom
