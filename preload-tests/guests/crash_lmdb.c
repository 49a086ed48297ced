/*
 * LMDB with MDB_WRITEMAP, and what is left of it.
 *
 * usage: crash_lmdb TAG DIRECTORY SEED store
 *        crash_lmdb TAG DIRECTORY SEED check <PROMISES
 *
 * `store` goes on from the last transaction that is there, until the power is cut; each puts a value of
 * 1 to 12,000 bytes and its own number, and when it is committed says
 * `@TAG kept 0 NUMBER 0 LENGTH HASH`. `check` wants the last transaction that was heard of, or a later
 * one, and every value whole; it says what crash_check says. Exit: 0, 1 a promise is broken, 2 a step
 * failed.
 */
#include "crash.h"
#include <lmdb.h>

enum { KEYS = 300, MOST = 12000, MAP_SIZE = 32 << 20 };

static const char *tag;
static uint64_t seed;
static MDB_env *env;
static MDB_dbi dbi;
static const uint64_t last_key = UINT64_MAX;

static void check(int error, const char *what)
{
	if (error) {
		fprintf(stderr, "crash_lmdb: %s: %s\n", what, mdb_strerror(error));
		exit(EXIT_SETUP);
	}
}

static MDB_val value_of(uint64_t number)
{
	static char value[MOST + 8];
	uint64_t key = key_of(seed, 0, number);
	struct store store = { 0, 1 + key % (key >> 32 & 7 ? 2000 : MOST) };

	fill(value, key, store);
	return (MDB_val){ store.length, value };
}

static int open_at(const char *directory)
{
	int error = mdb_env_create(&env);

	if (!error)
		error = mdb_env_set_mapsize(env, MAP_SIZE);
	if (!error)
		error = mdb_env_open(env, directory, MDB_WRITEMAP, 0644);
	return error;
}

static int get(MDB_txn *transaction, uint64_t key, MDB_val *value)
{
	MDB_val k = { sizeof(key), &key };

	return mdb_get(transaction, dbi, &k, value);
}

static void put(MDB_txn *transaction, uint64_t key, MDB_val value)
{
	MDB_val k = { sizeof(key), &key };

	check(mdb_put(transaction, dbi, &k, &value, 0), "mdb_put");
}

/* The number of the last transaction; 0 where there is none. */
static int get_last(MDB_txn *transaction, uint64_t *last)
{
	MDB_val value;
	int error = get(transaction, last_key, &value);

	*last = 0;
	if (error == MDB_NOTFOUND)
		return 0;
	if (!error)
		memcpy(last, value.mv_data, sizeof(*last));
	return error;
}

static void store(const char *directory)
{
	MDB_txn *transaction;
	uint64_t number;
	int fd;

	if (mkdir(directory, 0755) != 0 && errno != EEXIST)
		setup_failed("mkdir %s", directory);
	check(open_at(directory), "mdb_env_open");
	check(mdb_txn_begin(env, NULL, 0, &transaction), "mdb_txn_begin");
	check(mdb_dbi_open(transaction, NULL, 0, &dbi), "mdb_dbi_open");
	check(get_last(transaction, &number), "the last transaction");
	check(mdb_txn_commit(transaction), "mdb_txn_commit");
	/* The names of the new files: LMDB leaves them to others. */
	fd = open(directory, O_RDONLY | O_DIRECTORY);
	if (fd < 0 || fsync(fd) != 0 || syncfs(fd) != 0)
		setup_failed("fsync %s", directory);
	close(fd);
	for (number++;; number++) {
		MDB_val value = value_of(number);

		check(mdb_txn_begin(env, NULL, 0, &transaction), "mdb_txn_begin");
		put(transaction, number % KEYS, value);
		put(transaction, last_key, (MDB_val){ sizeof(number), &number });
		check(mdb_txn_commit(transaction), "mdb_txn_commit");
		say("@%s kept 0 %llu 0 %zu %016llx\n", tag, (unsigned long long)number,
		    value.mv_size, (unsigned long long)hash_of(value.mv_data, value.mv_size));
	}
}

/* What is wrong with the values of the first `last` transactions, or NULL. */
static const char *examine(uint64_t *last)
{
	uint64_t first;
	MDB_txn *transaction;
	MDB_stat stat;
	int error;

	if ((error = mdb_txn_begin(env, NULL, MDB_RDONLY, &transaction)) ||
	    (error = mdb_dbi_open(transaction, NULL, 0, &dbi)) ||
	    (error = get_last(transaction, last)) || (error = mdb_stat(transaction, dbi, &stat)))
		return mdb_strerror(error);
	first = *last > KEYS ? *last - KEYS + 1 : 1;
	if (stat.ms_entries != (*last ? *last - first + 2 : 0))
		return "another number of entries";
	for (uint64_t number = first; number <= *last; number++) {
		MDB_val expected = value_of(number), found;

		if ((error = get(transaction, number % KEYS, &found)))
			return mdb_strerror(error);
		if (found.mv_size != expected.mv_size ||
		    memcmp(found.mv_data, expected.mv_data, found.mv_size) != 0)
			return "a value is not whole";
	}
	mdb_txn_abort(transaction);
	return NULL;
}

static int judge(const char *directory)
{
	uint64_t promised = 0, last = 0, count = 0, broken = 0;
	const char *wrong = NULL;
	char line[512];
	int error;

	while (fgets(line, sizeof(line), stdin)) {
		promised = strtoull(line + 2, NULL, 10);
		count++;
	}
	/* Before the first promise there may be no database, or half of one. */
	if (count > 0) {
		error = open_at(directory);
		wrong = error ? mdb_strerror(error) : examine(&last);
	}
	if (wrong)
		broken = count;
	else if (promised > last)
		broken = promised - last < count ? promised - last : count;
	if (broken)
		say("@%s broken: %s: transaction %llu was promised, %llu is there\n", tag,
		    wrong ? wrong : "the last transactions are gone", (unsigned long long)promised,
		    (unsigned long long)last);
	say("@%s checked %llu %llu\n", tag, (unsigned long long)count, (unsigned long long)broken);
	return broken > 0;
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return EXIT_USAGE;
	tag = argv[1];
	seed = strtoull(argv[3], NULL, 0);
	if (strcmp(argv[4], "check") == 0)
		return judge(argv[2]);
	store(argv[2]);
}
