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
for times in first second; do
    code chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
        --user-data-dir="$profile" --disk-cache-dir="$PWD/cache" --dump-dom "file://$PWD/page.html" 2>errors >dom
    cat dom
    grep -q '<title>after</title>.*data-kept="yes">sum 299995' dom || tail -n 5 errors >&2
done
grep -q 'sum 299995' dom
