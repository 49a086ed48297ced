mdb_stat -ef db >&2
mdb_dump -p db | sed -n '/^HEADER=END/,/^DATA=END/s/^ //p' | paste -d ' ' - -
