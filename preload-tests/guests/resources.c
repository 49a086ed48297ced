/*
 * usage: resources FILE mappings|addresses|sparse|cycles N|files N|cost N|threads N|syncs N FILES|processes
 * Programs that go to the limits of what there is.
 */
#include "guest.h"
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>

enum { LENGTH = 16 * PAGE };

static const char *path;

/* Kilobytes that a file of /proc tells. */
static long number_in(const char *file, const char *format)
{
	char line[256];
	long kilobytes = 0;
	FILE *lines = fopen(file, "r");

	while (fgets(line, sizeof(line), lines) != NULL)
		sscanf(line, format, &kilobytes);
	fclose(lines);
	return kilobytes;
}

/* Kilobytes of anonymous memory, counted page by page: those of status may be off by what each processor keeps to itself. */
static long resident(void)
{
	return number_in("/proc/self/smaps_rollup", "Anonymous: %ld");
}

/* As many mappings as the kernel grants (vm.max_map_count). */
static void mappings(void)
{
	enum { MOST = 100000 };
	static char *at[MOST];
	int fd = open_sized(path, LENGTH), count = 0, failed = 0;

	for (; count < MOST; count++) {
		/* The same page again and again: neighbours do not merge. */
		at[count] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (at[count] == MAP_FAILED)
			break;
		at[count][0] = count;
		if (count % 4096 == 0)
			failed += msync(at[count], PAGE, MS_SYNC) != 0;
	}
	printf("%s mappings, then %s\n", count > 60000 ? "many" : "too few", errname(errno));
	for (int i = 0; i < count; i += 4096)
		failed += msync(at[i], PAGE, MS_SYNC) != 0;
	for (int i = 0; i < count; i++)
		failed += munmap(at[i], PAGE) != 0;
	printf("failed %d\n", failed);
	printf("another round: %d\n", store_and_sync(fd, LENGTH, 'x'));
}

/* The address space: the longest mapping that there is room for, and the round addresses that are free. */
static void addresses(void)
{
	const size_t tib = 1ull << 40;
	int fd = open_sized(path, LENGTH), flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, longest = 0, taken = 0;

	printf("before: %d\n", store_and_sync(fd, LENGTH, 'x'));
	for (int length = 8; length < 128; length += 8) {
		void *at = mmap(NULL, length * tib, PROT_NONE, flags, -1, 0);
		if (at == MAP_FAILED)
			continue;
		longest = length;
		munmap(at, length * tib);
	}
	for (int place = 1; place < 80; place++) {
		void *at = mmap((void *)(place * tib), 16 * PAGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, -1, 0);
		if (at == MAP_FAILED)
			taken++;
		else
			memset(at, place, 16 * PAGE);
	}
	printf("%d TiB in one piece, %d addresses taken\n", longest, taken);
	printf("after: %d\n", store_and_sync(fd, LENGTH, 'y'));
}

/* 1 TiB with a few stores, beyond 4 GiB and at the very end. */
static void sparse(void)
{
	static const off_t at[] = { 0, (1ll << 31) - 1, 1ll << 32, (5ll << 32) + 12345, (1ll << 40) - 1 };
	off_t length = 1ll << 40;
	int fd = open_sized(path, length);
	char *base = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0), byte;

	if (base == MAP_FAILED)
		setup_failed("mmap");
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		base[at[i]] = 'a' + i;
	printf("msync %d\n", msync(base, length, MS_SYNC));
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		if (pread(fd, &byte, 1, at[i]) != 1 || byte != (char)('a' + i))
			printf("byte at %lld is lost\n", (long long)at[i]);
		if (base[at[i]] != (char)('a' + i))
			printf("mapped byte at %lld is lost\n", (long long)at[i]);
	}
	base[1ll << 35] = 'x';
	printf("msync of a part %d\n", msync(base + (1ll << 35), PAGE, MS_SYNC));
	printf("munmap %d\n", munmap(base, length));
}

/* Maps and unmaps over and over; with `files`, a new file each time. */
static void cycles(long count, int files)
{
	long early = 0, growth;
	int fd = open_sized(path, LENGTH);

	for (long i = 0; i < count; i++) {
		char *base;

		if (files) {
			close(fd);
			unlink(path);
			fd = open_sized(path, LENGTH);
		}
		base = map_shared(fd, LENGTH);
		if (i % 16 == 0)
			base[i % 16 * PAGE] = i;
		if (msync(base, LENGTH, MS_SYNC) != 0)
			setup_failed("msync");
		munmap(base, LENGTH);
		if (i == count / 10)
			early = resident();
	}
	growth = resident() - early;
	printf("resident memory %s\n", growth < 512 ? "flat" : "grows");
	fprintf(stderr, "%ld KiB more in %ld cycles\n", growth, count - count / 10);
}

/* Bytes of this process that each of many mappings keeps resident. */
static void cost(long count)
{
	int fd = open_sized(path, LENGTH);
	/* Twice, so that what the first mapping brings with it is not counted. */
	long before = (store_and_sync(fd, LENGTH, 'x'), store_and_sync(fd, LENGTH, 'y'), resident());

	/* Neighbours do not merge. */
	for (long i = 0; i < count; i++)
		if (mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, i % 2 * 2 * PAGE) == MAP_FAILED)
			setup_failed("mmap");
	printf("%ld\n", (resident() - before) * 1024 / count);
}

/* Many stores to all of some files of 4 MiB, each synced: memory other than the files' own. */
static void syncs(long count, int files)
{
	enum { LARGE = 4 << 20, MOST = 64 };
	static char *base[MOST];
	char name[4096];
	long before;

	for (int i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "%s.%d", path, i);
		base[i] = map_shared(open_allocated(name, LARGE), LARGE);
	}
	before = number_in("/proc/self/status", "RssAnon: %ld");
	for (long n = 0; n < count; n++)
		for (int i = 0; i < files; i++) {
			for (size_t at = 0; at < LARGE; at += PAGE)
				base[i][at] = n + 1;
			if (msync(base[i], LARGE, MS_SYNC) != 0)
				setup_failed("msync");
		}
	printf("%ld\n", number_in("/proc/self/status", "RssAnon: %ld") - before);
}

static void *in_thread(void *number)
{
	char name[4096];
	int fd;

	snprintf(name, sizeof(name), "%s.%d", path, (int)(intptr_t)number);
	fd = open_sized(name, LENGTH);
	for (int i = 0; i < 50; i++)
		if (store_and_sync(fd, LENGTH, i) != 0)
			setup_failed("msync");
	close(fd);
	return NULL;
}

/* Short-lived threads, some at a time. */
static void threads(int count)
{
	pthread_t all[16];

	for (int i = 0; i < count; i += 16) {
		for (int j = 0; j < 16; j++)
			if (pthread_create(&all[j], NULL, in_thread, (void *)(intptr_t)(j)) != 0)
				setup_failed("pthread_create");
		for (int j = 0; j < 16; j++)
			pthread_join(all[j], NULL);
	}
	printf("done\n");
}

/* A user who may have one process maps, stores and syncs; then the same where there may be more. */
static void processes(void)
{
	struct rlimit limits = { .rlim_cur = 1, .rlim_max = 100 };
	int fd = open_sized(path, LENGTH);
	char *base;

	if (fchmod(fd, 0666) != 0 || setrlimit(RLIMIT_NPROC, &limits) != 0 || setuid(54322) != 0 ||
	    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0)
		setup_failed("setuid");
	base = map_shared(fd, LENGTH);
	base[0] = 'a';
	sync_and_tell(base, LENGTH);
	limits.rlim_cur = limits.rlim_max;
	if (setrlimit(RLIMIT_NPROC, &limits) != 0)
		setup_failed("setrlimit");
	base[PAGE] = 'b';
	sync_and_tell(base, LENGTH);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return EXIT_USAGE;
	path = argv[1];
	if (strcmp(argv[2], "mappings") == 0)
		mappings();
	else if (strcmp(argv[2], "addresses") == 0)
		addresses();
	else if (strcmp(argv[2], "sparse") == 0)
		sparse();
	else if (strcmp(argv[2], "cycles") == 0)
		cycles(atol(argv[3]), 0);
	else if (strcmp(argv[2], "files") == 0)
		cycles(atol(argv[3]), 1);
	else if (strcmp(argv[2], "cost") == 0)
		cost(atol(argv[3]));
	else if (strcmp(argv[2], "syncs") == 0 && argc == 5)
		syncs(atol(argv[3]), atoi(argv[4]));
	else if (strcmp(argv[2], "threads") == 0)
		threads(atoi(argv[3]));
	else if (strcmp(argv[2], "processes") == 0)
		processes();
	else
		return EXIT_USAGE;
	return 0;
}
