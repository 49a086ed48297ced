# A page that keeps something, drawn twice with one profile. Its sandboxes have a handler answer system calls.
cat >page.html <<'HTML'
<!doctype html><title>before</title><body style="margin:0;background:#123456"><script>
localStorage.setItem("kept", (localStorage.getItem("kept") || "") + "x");
let sum = 0;
for (let i = 0; i < 100000; i++) sum += i % 7;
document.body.style.background = sum == 299995 ? "#0a0" : "#a00";
</script>
HTML
# Where no symbolic link can be made (the profile's lock is one) there can be no profile.
profile=$PWD/profile
ln -s page.html link 2>/dev/null || profile=$RUN/profile
mkdir "$profile"
for times in first second; do
    HOME=$RUN code firefox-esr --headless --no-remote --profile "$profile" --window-size=64,64 \
        --screenshot "$PWD/$times.png" "file://$PWD/page.html" >messages 2>&1 </dev/null
    sha256sum <"$times.png"
    # Of its first run, with a driver or without.
    grep -iE 'sandbox|signal|crash' messages || :
    sqlite3 "$profile/places.sqlite" 'pragma integrity_check'
done
cmp first.png second.png
