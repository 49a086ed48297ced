/*
 * Judges what is left of the file of `crash_store`.
 *
 * usage: crash_check TAG FILE SEED PROCESSES <PROMISES
 *
 * PROMISES are lines as crash_store said them, in the order in which they were heard, from `PROCESS`
 * on. Each byte of the file must be what the last promise that covers it says, or what a later
 * store of a process left, of which nothing was heard; a byte that no promise covers may also be old.
 * Says `@TAG checked PROMISES BROKEN`, after a line `@TAG broken ...` for each of the first few
 * that do not hold. Exit: 0 none is broken, 1 some, 2 a step failed.
 */
#include "crash.h"

/* How many stores a process may have made since the last that was heard of. */
enum { AHEAD = 256, MOST_PROCESSES = 8, SHOWN = 5 };

struct promise {
	unsigned process;
	uint64_t number, key;
	struct store store;
	size_t bad;
};

static const char *tag;
static uint64_t seed;
static struct promise *promises, later[MOST_PROCESSES * AHEAD];
static size_t count, later_count;
static size_t foreign;
static char file[FILE_SIZE], expected[FILE_SIZE];
/* Pages that may hold anything but zeros: only those are looked at. */
static char looked_at[FILE_SIZE / PAGE + 1];

/* Returns 0 where the line is not one that the program says. */
static int read_promise(const char *line, struct promise *promise)
{
	unsigned long long number, hash;
	long long offset;
	size_t length;
	char *copy;
	struct store store;
	int same;

	if (sscanf(line, "%u %llu %lld %zu %llx", &promise->process, &number, &offset, &length,
		   &hash) != 5)
		return 0;
	store = store_of(seed, promise->process, number);
	promise->number = number;
	promise->key = key_of(seed, promise->process, number);
	promise->store = store;
	promise->bad = 0;
	copy = malloc(store.length);
	fill(copy - store.offset, promise->key, store);
	same = store.offset == offset && store.length == length &&
		hash_of(copy, length) == hash;
	free(copy);
	return same;
}

static void read_promises(int processes)
{
	uint64_t next[MOST_PROCESSES] = { 0 };
	char line[512];

	while (fgets(line, sizeof(line), stdin)) {
		promises = realloc(promises, (count + 1) * sizeof(*promises));
		if (!promises || !read_promise(line, &promises[count]) ||
		    promises[count].process >= (unsigned)processes) {
			fprintf(stderr, "crash_check: not what a store says: %s", line);
			exit(EXIT_SETUP);
		}
		next[promises[count].process] = promises[count].number + 1;
		count++;
	}
	for (int process = 0; process < processes; process++)
		for (uint64_t number = next[process]; number < next[process] + AHEAD; number++)
			later[later_count++] = (struct promise){ process, number,
				key_of(seed, process, number), store_of(seed, process, number), 0 };
}

static void look_at(off_t offset, size_t length)
{
	for (off_t page = offset / PAGE; page <= (offset + (off_t)length - 1) / PAGE; page++)
		looked_at[page] = 1;
}

static void expect(uint64_t key, struct store store)
{
	fill(expected, key, store);
	look_at(store.offset, store.length);
}

/* Reads all but the holes. Returns 0 where a read fails. */
static int read_file(int fd)
{
	off_t at = 0;

	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		off_t end = lseek(fd, at, SEEK_HOLE);

		look_at(at, end - at);
		while (at < end) {
			ssize_t n = pread(fd, file + at, end - at, at);

			if (n <= 0)
				return 0;
			at += n;
		}
	}
	return errno == ENXIO;
}

static int touches(const struct promise *promise, off_t begin, off_t end)
{
	return begin < promise->store.offset + (off_t)promise->store.length &&
		end > promise->store.offset;
}

static int covers(const struct promise *promise, off_t position)
{
	return touches(promise, position, position + 1);
}

static void judge_byte(off_t position, unsigned char found, struct promise **newer)
{
	for (; *newer; newer++)
		if (covers(*newer, position) && byte_at((*newer)->key, position) == found)
			return;
	for (size_t i = count; i-- > 0;) {
		if (covers(&promises[i], position)) {
			promises[i].bad++;
			return;
		}
	}
	foreign++;
}

/* Returns how many promises are broken. */
static size_t judge(void)
{
	static struct promise *newer[MOST_PROCESSES * AHEAD + 1];
	size_t broken = 0, newer_count;

	for (off_t page = 0; page < FILE_SIZE; page += PAGE) {
		size_t length = FILE_SIZE - page < PAGE ? FILE_SIZE - page : PAGE;

		if (!looked_at[page / PAGE] || memcmp(file + page, expected + page, length) == 0)
			continue;
		newer_count = 0;
		for (size_t i = 0; i < later_count; i++)
			if (touches(&later[i], page, page + PAGE))
				newer[newer_count++] = &later[i];
		newer[newer_count] = NULL;
		for (off_t at = page; at < page + (off_t)length; at++)
			if (file[at] != expected[at])
				judge_byte(at, file[at], newer);
	}
	for (size_t i = 0; i < count; i++) {
		if (promises[i].bad == 0)
			continue;
		if (broken++ < SHOWN)
			say("@%s broken: store %llu of process %u, number %zu of %zu: %zu bytes of [%lld, +%zu)\n",
			    tag, (unsigned long long)promises[i].number, promises[i].process, i, count,
			    promises[i].bad, (long long)promises[i].store.offset,
			    promises[i].store.length);
	}
	return broken;
}

/* All promises are broken. */
static int lost(const char *why)
{
	say("@%s broken: %s\n", tag, why);
	say("@%s checked %zu %zu\n", tag, count, count);
	return 1;
}

int main(int argc, char **argv)
{
	int fd, processes;
	size_t broken;
	struct stat stat;

	if (argc != 5 || (processes = atoi(argv[4])) < 1 || processes > MOST_PROCESSES)
		return EXIT_USAGE;
	tag = argv[1];
	seed = strtoull(argv[3], NULL, 0);
	read_promises(processes);
	/* Before the first promise the file may not be there, or not hold its old bytes. */
	if (count == 0) {
		say("@%s checked 0 0\n", tag);
		return 0;
	}

	fd = open(argv[2], O_RDONLY);
	if (fd < 0)
		return lost(errname(errno));
	if (fstat(fd, &stat) != 0 || stat.st_size != FILE_SIZE)
		return lost("the file's size is another");
	if (!read_file(fd))
		return lost(errname(errno));
	for (int number = 0; number < OLD_RANGES; number++)
		expect(old_key(seed), old_range(number));
	for (size_t i = 0; i < count; i++)
		expect(promises[i].key, promises[i].store);
	broken = judge();
	if (foreign > 0) {
		say("@%s broken: %zu bytes that nothing promised are neither old nor new\n", tag, foreign);
		broken++;
	}
	say("@%s checked %zu %zu\n", tag, count, broken);
	return broken > 0;
}
