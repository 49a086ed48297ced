# OpenLDAP on its LMDB backend with a writable mapping, killed.
mkdir db
cat >slapd.conf <<CONF
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile $RUN/pid
database mdb
maxsize 67108864
envflags writemap
suffix "dc=example"
rootdn "cn=admin,dc=example"
rootpw secret
directory $PWD/db
index objectClass eq
CONF
cat >entries <<'LDIF'
dn: dc=example
objectClass: dcObject
objectClass: organization
dc: example
o: example

LDIF
for number in $(seq 1 150); do
    printf 'dn: cn=c%s,dc=example\nobjectClass: person\ncn: c%s\nsn: s%s\n\n' $number $number $number
done >>entries
url=ldapi://$(printf %s "$RUN/s" | sed 's,/,%2F,g')
admin="-x -H $url -D cn=admin,dc=example -w secret"
start() {
    /usr/sbin/slapd -h "$url" -f slapd.conf -d 0 2>>errors &
    server=$!
    until_it ldapsearch -x -H "$url" -s base -b "" -LLL
}
start
ldapadd $admin -f entries | grep -c adding
look $server | grep -v '^thread'
kill -KILL $server
code_of $server
/usr/sbin/slapcat -f slapd.conf -b dc=example 2>/dev/null | grep -c '^dn: cn='
start
ldapsearch -x -H "$url" -b dc=example -LLL '(sn=s77)' sn
ldapdelete $admin cn=c77,dc=example
ldapsearch -x -H "$url" -b dc=example -LLL '(sn=s77)' sn
kill -INT $server
code_of $server
/usr/sbin/slapcat -f slapd.conf -b dc=example 2>/dev/null | grep '^cn:' | sort | sha256sum
