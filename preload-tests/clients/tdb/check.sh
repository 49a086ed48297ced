# A transaction that the cut caught in its commit is recovered by the first open for writing.
tdbtool db check >check.out 2>&1 || { cat check.out >&2; exit 1; }
grep -q 'Database integrity is OK' check.out || { cat check.out >&2; exit 1; }
tdbdump db | sed -n 's/^\(key\|data\)([0-9]*) = "\(.*\)"$/\2/p' | paste -d ' ' - -
