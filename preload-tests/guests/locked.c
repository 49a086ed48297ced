/*
 * Stores into mappings that are locked in memory, of pages that are not in the page cache: they return.
 *
 * usage: locked FILE CASE, of the cases below.
 * Prints what each msync says, and in the end whether the file holds what was stored.
 */
#include "guest.h"
#include <sys/resource.h>

enum { PAGES = 64, LENGTH = PAGES * PAGE };

static const char *path;
static char stored[PAGES];

/* Stores a byte that no page had before to every `step`th page, and syncs. */
static void round_of_stores(char *base, int step)
{
	static char byte = 'a';

	byte++;
	for (int page = 0; page < PAGES; page += step)
		base[page * PAGE] = stored[page] = byte;
	sync_and_tell(base, LENGTH);
}

/* Another process does something to the file. */
static void in_another_process(void (*what)(int))
{
	pid_t child = fork();

	if (child == 0) {
		int fd = open(path, O_RDWR);

		if (fd < 0)
			setup_failed("open");
		what(fd);
		_exit(0);
	}
	if (child < 0 || waitpid(child, NULL, 0) != child)
		setup_failed("fork");
}

static void nothing(int fd)
{
	(void)fd;
}

static void punch(int fd)
{
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, LENGTH) != 0)
		setup_failed("fallocate");
}

static void cut(int fd)
{
	if (ftruncate(fd, PAGE) != 0 || ftruncate(fd, LENGTH) != 0)
		setup_failed("ftruncate");
}

static int lock(void *base)
{
	if (mlock(base, LENGTH) != 0)
		setup_failed("mlock");
	return 0;
}

static void check(int fd)
{
	int wrong = 0;
	char byte;

	for (int page = 0; page < PAGES; page++)
		wrong += pread(fd, &byte, 1, page * PAGE) != 1 || byte != stored[page];
	printf("wrong pages: %d\n", wrong);
}

int main(int argc, char **argv)
{
	int fd;
	char *base;

	if (argc != 3)
		return EXIT_USAGE;
	path = argv[1];
	fd = open_sized(path, LENGTH);
	if (strcmp(argv[2], "future") == 0) {
		if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
			setup_failed("mlockall");
		base = map_shared(fd, LENGTH);
		round_of_stores(base, 1);
		in_another_process(nothing);
		round_of_stores(base, 3);
	} else if (strcmp(argv[2], "flag") == 0) {
		base = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_LOCKED, fd, 0);
		round_of_stores(base, 5);
		in_another_process(nothing);
		round_of_stores(base, 3);
	} else if (strcmp(argv[2], "moved") == 0) {
		base = map_shared(fd, LENGTH);
		lock(base);
		base = mremap(base, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, base + (1 << 30));
		if (base == MAP_FAILED)
			setup_failed("mremap");
		round_of_stores(base, 5);
		in_another_process(nothing);
		round_of_stores(base, 3);
	} else if (strcmp(argv[2], "unlocked") == 0) {
		base = map_shared(fd, LENGTH);
		lock(base);
		round_of_stores(base, 5);
		munlock(base, LENGTH);
		round_of_stores(base, 4);
		in_another_process(nothing);
		round_of_stores(base, 3);
	} else if (strcmp(argv[2], "guarded") == 0) {
		/* MADV_GUARD_INSTALL and MADV_GUARD_REMOVE, where the kernel has them. */
		base = map_shared(fd, LENGTH);
		round_of_stores(base, 1);
		printf("guard %d\n", madvise(base, LENGTH / 2, 102));
		sync_and_tell(base, LENGTH);
		printf("guard again %d\n", madvise(base, LENGTH / 2, 102));
		printf("remove %d\n", madvise(base, LENGTH / 2, 103));
		round_of_stores(base, 3);
		in_another_process(nothing);
		round_of_stores(base, 2);
	} else if (strcmp(argv[2], "refused") == 0) {
		struct rlimit limit = { PAGE, PAGE };

		/* Without CAP_IPC_LOCK. */
		setrlimit(RLIMIT_MEMLOCK, &limit);
		base = map_shared(fd, LENGTH);
		printf("mlock %d\n", mlock(base, LENGTH));
		round_of_stores(base, 5);
		in_another_process(nothing);
		round_of_stores(base, 3);
	} else {
		base = map_shared(fd, LENGTH);
		lock(base);
		round_of_stores(base, 5);
		if (strcmp(argv[2], "open") == 0) {
			in_another_process(nothing);
		} else if (strcmp(argv[2], "punch") == 0) {
			in_another_process(punch);
			memset(stored, 0, sizeof(stored));
		} else if (strcmp(argv[2], "cut") == 0) {
			in_another_process(cut);
			memset(stored + 1, 0, sizeof(stored) - 1);
		} else if (strcmp(argv[2], "cut myself") == 0) {
			cut(fd);
			memset(stored + 1, 0, sizeof(stored) - 1);
		} else {
			return EXIT_USAGE;
		}
		round_of_stores(base, 3);
	}
	check(fd);
	return 0;
}
