# Berkeley DB: an environment whose regions are mapped files, transactions, recovery.
mkdir env
printf 'set_cachesize 0 2097152 1\nset_flags DB_TXN_WRITE_NOSYNC off\n' >env/DB_CONFIG
code db5.3_recover -e -h env
seq 1 3000 | sed 's/.*/key&\nvalue&/' | code db5.3_load -T -t btree -h env tree.db
seq 1 3000 | sed 's/.*/key&\nvalue&/' | code db5.3_load -T -t hash -h env hash.db
code db5.3_verify -h env tree.db hash.db
db5.3_dump -p -h env tree.db | sha256sum
db5.3_dump -p -h env hash.db | grep '^ ' | sort | sha256sum
db5.3_stat -h env -d tree.db | grep -E 'unique keys|page size'
code db5.3_checkpoint -1 -h env
code db5.3_archive -h env -s
code db5.3_recover -h env
code db5.3_verify -h env tree.db
ls env
