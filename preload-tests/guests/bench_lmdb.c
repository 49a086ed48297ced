/*
 * bench_lmdb DIRECTORY msync|fdatasync: a line "N" commits N transactions of one record to an LMDB
 * database in MDB_WRITEMAP mode, each followed by an fdatasync if so asked.
 */
#include "bench.h"
#include <lmdb.h>

static MDB_env *env;
static MDB_dbi dbi;
static enum how how;
static int fd;
static uint64_t key;

static void check(int error, const char *what)
{
	if (error) {
		fprintf(stderr, "%s: %s\n", what, mdb_strerror(error));
		exit(EXIT_SETUP);
	}
}

static void commit_one(void)
{
	static char value[100];
	MDB_txn *transaction;
	uint64_t scattered = key++ * 0x9e3779b97f4a7c15u;
	MDB_val k = { sizeof scattered, &scattered }, v = { sizeof value, value };

	check(mdb_txn_begin(env, NULL, 0, &transaction), "mdb_txn_begin");
	check(mdb_put(transaction, dbi, &k, &v, 0), "mdb_put");
	check(mdb_txn_commit(transaction), "mdb_txn_commit");
	if (how == FDATASYNC && fdatasync(fd) != 0)
		setup_failed("fdatasync");
}

static void round_of(const char *line)
{
	long times = strtol(line, NULL, 10), begin = now_ns();

	for (long n = 0; n < times; n++)
		commit_one();
	printf("commits %ld\n", now_ns() - begin);
}

int main(int argc, char **argv)
{
	MDB_txn *transaction;

	if (argc != 3)
		return EXIT_USAGE;
	how = parse_how(argv[2]);
	if (mkdir(argv[1], 0755) != 0)
		setup_failed("mkdir %s", argv[1]);
	check(mdb_env_create(&env), "mdb_env_create");
	check(mdb_env_set_mapsize(env, 64 << 20), "mdb_env_set_mapsize");
	check(mdb_env_open(env, argv[1], MDB_WRITEMAP, 0644), "mdb_env_open");
	check(mdb_env_get_fd(env, &fd), "mdb_env_get_fd");
	check(mdb_txn_begin(env, NULL, 0, &transaction), "mdb_txn_begin");
	check(mdb_dbi_open(transaction, NULL, 0, &dbi), "mdb_dbi_open");
	check(mdb_txn_commit(transaction), "mdb_txn_commit");
	serve(round_of);
	return 0;
}
