/*
 * Stores until the power is cut, and says after each call what it was promised.
 *
 * usage: crash_store TAG FILE SEED PROCESSES msync|munmap|async|part|written
 *
 * Each process, over and over, as doio: locks a range, maps the file, stores there, asks for it to be
 * kept, says so, unmaps, reads the range back through a fresh descriptor, unlocks. How it asks:
 *   msync   msync of the whole mapping with MS_SYNC
 *   munmap  only by unmapping (and then says so)
 *   async   msync of the whole mapping with MS_ASYNC
 *   part    two stores, in two mappings; msync of what the first touched; a third store, and unmaps
 *   written as msync, but waits only until the disk was given the data (sync_file_range)
 * Says `@TAG kept PROCESS NUMBER OFFSET LENGTH HASH` for a store, or `@TAG wrong ...` if the range
 * reads otherwise. Exit: 2 if a step failed.
 */
#include "crash.h"

static const char *tag, *path, *how;
static uint64_t seed;
static unsigned process;

static void lock_range(int fd, short type, struct store store)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET,
		.l_start = store.offset, .l_len = store.length };

	while (fcntl(fd, F_SETLKW, &lock) != 0)
		if (errno != EINTR)
			setup_failed("fcntl F_SETLKW");
}

static void say_kept(const char *base, uint64_t number)
{
	struct store store = store_of(seed, process, number);

	say("@%s kept %u %llu %lld %zu %016llx\n", tag, process, (unsigned long long)number,
	    (long long)store.offset, store.length,
	    (unsigned long long)hash_of(base + store.offset, store.length));
}

/* Returns the descriptor: closing any of the file's would give up this process's locks. */
static int read_back(const char *expected, struct store store)
{
	static char actual[LONGEST];
	int fd = open(path, O_RDONLY);

	if (fd < 0 || pread(fd, actual, store.length, store.offset) != (ssize_t)store.length)
		setup_failed("read %s", path);
	if (memcmp(actual, expected + store.offset, store.length) != 0)
		say("@%s wrong: process %u reads other bytes at %lld\n", tag, process,
		    (long long)store.offset);
	return fd;
}

static void sync_range(char *base, off_t offset, size_t length, int flags)
{
	off_t begin = offset & -PAGE;

	if (msync(base + begin, offset + length - begin, flags) != 0)
		setup_failed("msync");
}

/* To keep the whole file. */
static void ask(int fd, char *base)
{
	if (strcmp(how, "written") != 0)
		sync_range(base, 0, FILE_SIZE, strcmp(how, "async") == 0 ? MS_ASYNC : MS_SYNC);
	else if (sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
				 SYNC_FILE_RANGE_WAIT_AFTER) != 0)
		setup_failed("sync_file_range");
}

static void one_store(int fd, char *copy, uint64_t number)
{
	struct store store = store_of(seed, process, number);
	int reader;
	char *base;

	fill(copy, key_of(seed, process, number), store);
	lock_range(fd, F_WRLCK, store);
	base = map_shared(fd, FILE_SIZE);
	memcpy(base + store.offset, copy + store.offset, store.length);
	if (strcmp(how, "munmap") != 0) {
		ask(fd, base);
		say_kept(copy, number);
	}
	munmap(base, FILE_SIZE);
	if (strcmp(how, "munmap") == 0)
		say_kept(copy, number);
	reader = read_back(copy, store);
	lock_range(fd, F_UNLCK, store);
	close(reader);
}

static void store_number(char *base, uint64_t number)
{
	fill(base, key_of(seed, process, number), store_of(seed, process, number));
}

static void some_synced(int fd, char *copy, uint64_t number)
{
	struct store first = store_of(seed, process, number);
	char *synced = map_shared(fd, FILE_SIZE), *other = map_shared(fd, FILE_SIZE);

	store_number(synced, number);
	store_number(other, number + 1);
	sync_range(synced, first.offset, first.length, MS_SYNC);
	store_number(copy, number);
	say_kept(copy, number);
	store_number(copy, number + 1);
	say_kept(copy, number + 1);
	store_number(other, number + 2);
	munmap(synced, FILE_SIZE);
	munmap(other, FILE_SIZE);
	store_number(copy, number + 2);
	say_kept(copy, number + 2);
}

static void work(void)
{
	int part = strcmp(how, "part") == 0, fd = open(path, O_RDWR);
	char *copy = malloc(FILE_SIZE);

	if (fd < 0 || !copy)
		setup_failed("open %s", path);
	for (uint64_t number = 0;; number += part ? 3 : 1) {
		if (part)
			some_synced(fd, copy, number);
		else
			one_store(fd, copy, number);
		/* Those that never wait for the disk would flood the channel. */
		if (strcmp(how, "msync") != 0)
			usleep(2000);
	}
}

/* A new file with its old bytes, on the disk before the first store. */
static void prepare(void)
{
	char *old = calloc(1, FILE_SIZE), *directory = strdup(path);
	int fd;

	if (!old || !directory || !strrchr(directory, '/'))
		setup_failed("prepare");
	*strrchr(directory, '/') = '\0';
	if (unlink(path) != 0 && errno != ENOENT)
		setup_failed("unlink %s", path);
	fd = open_sized(path, FILE_SIZE);
	for (int number = 0; number < OLD_RANGES; number++) {
		struct store range = old_range(number);

		fill(old, old_key(seed), range);
		if (pwrite(fd, old + range.offset, range.length, range.offset) !=
		    (ssize_t)range.length)
			setup_failed("pwrite %s", path);
	}
	if (fsync(fd) != 0)
		setup_failed("fsync %s", path);
	close(fd);
	fd = open(directory, O_RDONLY | O_DIRECTORY);
	if (fd < 0 || fsync(fd) != 0)
		setup_failed("fsync %s", directory);
	close(fd);
	free(old);
	free(directory);
}

int main(int argc, char **argv)
{
	int processes;

	if (argc != 6)
		return EXIT_USAGE;
	tag = argv[1];
	path = argv[2];
	seed = strtoull(argv[3], NULL, 0);
	processes = atoi(argv[4]);
	how = argv[5];
	prepare();
	for (process = 1; process < (unsigned)processes; process++)
		if (fork() == 0)
			work();
	process = 0;
	work();
}
