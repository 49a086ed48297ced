gdbmtool -N db list
