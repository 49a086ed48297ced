# systemd's journal, written through mappings, and verified.
for number in $(seq 1 800); do
    cat <<ENTRY
__CURSOR=s=00000000000000000000000000000001;i=$number;b=00000000000000000000000000000002;m=$number;t=$number;x=$number
__REALTIME_TIMESTAMP=$((1000000000000000 + number))
__MONOTONIC_TIMESTAMP=$number
_BOOT_ID=00000000000000000000000000000002
PRIORITY=$((number % 8))
SYSLOG_IDENTIFIER=program$((number % 5))
MESSAGE=message $number $(printf '%0100d' $number)

ENTRY
done >export
for compress in no yes; do
    code /lib/systemd/systemd-journal-remote --compress=$compress --output="$PWD/$compress.journal" export >said 2>&1
    cat said | grep -v '^$' || :
    code journalctl --quiet --verify --file="$PWD/$compress.journal" 2>&1 | tr '\r' '\n' | grep -v '%' | sed "s,$PWD/,,"
    journalctl --quiet --file="$PWD/$compress.journal" -o export | grep -v '^__CURSOR\|^_BOOT\|^__SEQ' | sha256sum
    journalctl --quiet --file="$PWD/$compress.journal" SYSLOG_IDENTIFIER=program3 -o cat | tail -n 1
done
journalctl --quiet --merge --file="$PWD/no.journal" --file="$PWD/yes.journal" -o cat | wc -l
