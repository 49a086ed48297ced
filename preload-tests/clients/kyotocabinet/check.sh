kchashmgr check db.kch >check.out 2>&1 || { cat check.out >&2; exit 1; }
kchashmgr list -pv db.kch | tr '\t' ' '
