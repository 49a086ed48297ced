/*
 * usage: many FILE grow|windows|apart|leave|open|write|reopen|secret [COUNT]
 * grow: makes FILE and its mapping a page longer, COUNT times (ftruncate, mremap), stores to each page and syncs some.
 * windows: maps COUNT pages of FILE, one by one.
 * apart: the same, and nothing side by side.
 * leave: the same, and stores to 20 of them, each of which it unmaps then.
 * open: the same as apart, and opens FILE 20 times.
 * write: maps FILE, stores to it and syncs it, and writes to it COUNT times.
 * reopen: opens FILE, and makes it longer, COUNT times, each time after a store; then calls msync.
 * secret: stores to memory that no file is behind (memfd_secret), and calls msync.
 */
#include "guest.h"

/* Not in the headers of older C libraries. */
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

static void grow(const char *path, int count)
{
	int fd = open_sized(path, PAGE), wrong = 0;
	char *base = map_shared(fd, PAGE);

	for (int i = 1; i < count; i++) {
		if (ftruncate(fd, (off_t)(i + 1) * PAGE) != 0)
			setup_failed("ftruncate");
		base = mremap(base, (size_t)i * PAGE, (size_t)(i + 1) * PAGE, MREMAP_MAYMOVE);
		if (base == MAP_FAILED) {
			printf("mremap %d: %s\n", i, errname(errno));
			exit(1);
		}
		base[(size_t)i * PAGE] = (char)i;
		if (i % 16 == 0 && msync(base, (size_t)(i + 1) * PAGE, MS_SYNC) != 0)
			printf("msync %d: %s\n", i, errname(errno));
	}
	sync_and_tell(base, (size_t)count * PAGE);
	for (int i = 1; i < count; i++) {
		char byte;

		wrong += pread(fd, &byte, 1, (off_t)i * PAGE) != 1 || byte != (char)i;
	}
	printf("%d pages, %d of them wrong\n", count, wrong);
}

static void windows(const char *path, int count)
{
	int fd = open_sized(path, (off_t)count * PAGE);
	char *last = NULL;

	for (int i = 0; i < count; i++) {
		last = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)i * PAGE);
		if (last == MAP_FAILED)
			setup_failed("mmap");
	}
	last[0] = 'w';
	sync_and_tell(last, PAGE);
}

static void apart(const char *path, int count, int leave, int opens)
{
	int fd = open_sized(path, (off_t)count * PAGE);
	char *free = mmap(NULL, 2 * (size_t)count * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *page = NULL;

	if (free == MAP_FAILED || munmap(free, 2 * (size_t)count * PAGE) != 0)
		setup_failed("mmap");
	for (int i = 0; i < count; i++) {
		char *at = free + 2 * (size_t)i * PAGE;

		page = mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)i * PAGE);
		if (page != at)
			setup_failed("mmap");
	}
	for (int i = 0; leave && i < 20; i++) {
		free[2 * (size_t)i * PAGE] = 'l';
		if (munmap(free + 2 * (size_t)i * PAGE, PAGE) != 0)
			setup_failed("munmap");
	}
	for (int i = 0; opens && i < 20; i++) {
		int other = open(path, O_RDWR);

		if (other < 0 || close(other) != 0)
			setup_failed("open");
	}
	page[0] = 'a';
	sync_and_tell(page, PAGE);
}

static void write_to(const char *path, int count)
{
	int fd = open_sized(path, 4 * PAGE);
	char *base = map_shared(fd, 4 * PAGE);

	base[0] = 'w';
	sync_and_tell(base, PAGE);
	for (int i = 0; i < count; i++)
		if (pwrite(fd, "w", 1, i) != 1)
			setup_failed("pwrite");
}

static void reopen(const char *path, int count)
{
	int fd = open_sized(path, PAGE);
	char *base = map_shared(fd, PAGE);

	for (int i = 0; i < count; i++) {
		int other;

		base[i] = 'r';
		other = open(path, i % 2 ? O_RDWR : O_RDONLY);
		if (other < 0 || close(other) != 0)
			setup_failed("open");
		base[i] = 'R';
		if (ftruncate(fd, (off_t)(i + 2) * PAGE) != 0)
			setup_failed("ftruncate");
	}
	sync_and_tell(base, PAGE);
}

static void secret(void)
{
	int fd = syscall(SYS_memfd_secret, 0);
	char *base;

	if (fd < 0 || ftruncate(fd, 4 * PAGE) != 0)
		setup_failed("memfd_secret");
	base = map_shared(fd, 4 * PAGE);
	base[0] = 's';
	sync_and_tell(base, 4 * PAGE);
}

int main(int argc, char **argv)
{
	int count = argc > 3 ? atoi(argv[3]) : 0;

	if (argc < 3)
		return EXIT_USAGE;
	if (strcmp(argv[2], "grow") == 0)
		grow(argv[1], count);
	else if (strcmp(argv[2], "windows") == 0)
		windows(argv[1], count);
	else if (strcmp(argv[2], "apart") == 0 || strcmp(argv[2], "leave") == 0 || strcmp(argv[2], "open") == 0)
		apart(argv[1], count, strcmp(argv[2], "leave") == 0, strcmp(argv[2], "open") == 0);
	else if (strcmp(argv[2], "write") == 0)
		write_to(argv[1], count);
	else if (strcmp(argv[2], "reopen") == 0)
		reopen(argv[1], count);
	else if (strcmp(argv[2], "secret") == 0)
		secret();
	else
		return EXIT_USAGE;
	return 0;
}
