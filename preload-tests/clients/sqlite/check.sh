test "$(sqlite3 db 'PRAGMA integrity_check')" = ok
sqlite3 -separator ' ' db 'SELECT key, value FROM t'
