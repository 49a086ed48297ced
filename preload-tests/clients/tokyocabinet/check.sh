tchmgr inform db.tch >&2
tchmgr list -pv db.tch | tr '\t' ' '
