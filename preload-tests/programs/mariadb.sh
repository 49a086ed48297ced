# InnoDB and Aria, and a log of transactions that is mapped; killed, and recovered.
mariadb-install-db --no-defaults --user=root --datadir="$PWD/data" --skip-test-db \
    --auth-root-authentication-method=normal >install 2>&1 || { cat install; exit 1; }
start() {
    /usr/sbin/mariadbd --no-defaults --user=root --datadir="$PWD/data" --skip-networking \
        --socket="$RUN/s" --pid-file="$RUN/pid" --log-error="$PWD/errors" \
        --innodb-buffer-pool-size=16M --innodb-log-file-size=8M &
    server=$!
    until_it mariadb-admin --no-defaults --socket="$RUN/s" -u root ping
}
sql() { mariadb --no-defaults --socket="$RUN/s" -u root -N -e "$1" d; }
start
mariadb --no-defaults --socket="$RUN/s" -u root -e 'CREATE DATABASE d'
sql 'CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200)) ENGINE=InnoDB; CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(200)) ENGINE=Aria TRANSACTIONAL=1'
sql "INSERT INTO t SELECT seq, REPEAT(seq, 20) FROM seq_1_to_2000; INSERT INTO a SELECT * FROM t"
sql 'XA START "x"; UPDATE t SET v = "changed" WHERE id < 10; XA END "x"; XA PREPARE "x"; XA COMMIT "x"'
look $server | grep -c '^child' || :
kill -KILL $server
code_of $server
start
sql 'CHECKSUM TABLE t, a; CHECK TABLE t, a; SELECT COUNT(*), SUM(id) FROM t WHERE v <> "changed"'
mariadb-admin --no-defaults --socket="$RUN/s" -u root shutdown
code_of $server
