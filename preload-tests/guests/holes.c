/*
 * A file with holes is mapped, and the filesystem fills up before anything is stored.
 *
 * usage: holes FILE PAGES BALLAST before|after [ROUNDS]
 * Maps PAGES pages of FILE, which is made that long and is one hole where it was not there
 * before. BALLAST takes all the space that is left, before or after the mmap. Then each page is
 * stored to and the file is synced, ROUNDS times (once if not said).
 * Prints `size SIZE blocks BLOCKS` after the mmap, `msync ERRNO` a round, and at the end
 * `lost N of M pages` as O_DIRECT reads them.
 */
#include "guest.h"

static char stored_byte(long page, int round)
{
	return 'A' + (page + round) % 26;
}

/* fallocate, because space that write(2) only reserves may come back. */
static void fill_up(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0644);
	off_t at = 0;

	if (fd < 0)
		setup_failed("open %s", path);
	for (off_t chunk = 1 << 30; chunk >= PAGE;) {
		if (fallocate(fd, 0, at, chunk) == 0)
			at += chunk;
		else if (errno == ENOSPC)
			chunk /= 2;
		else
			setup_failed("fallocate %s", path);
	}
	if (fsync(fd) != 0)
		setup_failed("fsync %s", path);
	close(fd);
}

static long lost_pages(const char *path, long pages, int round)
{
	int fd = open(path, O_RDONLY | O_DIRECT);
	char *buffer = aligned_alloc(PAGE, PAGE);
	long lost = 0;

	if (fd < 0 || buffer == NULL)
		setup_failed("open O_DIRECT");
	for (long page = 0; page < pages; page++) {
		ssize_t n = pread(fd, buffer, PAGE, page * PAGE);

		lost += n != PAGE || buffer[0] != stored_byte(page, round)
			|| memcmp(buffer, buffer + 1, PAGE - 1) != 0;
	}
	return lost;
}

int main(int argc, char **argv)
{
	long pages = argc > 2 ? atol(argv[2]) : 0;
	int rounds = argc > 5 ? atoi(argv[5]) : 1;
	struct stat stat;
	char *base;
	int fd;

	if (argc < 5 || pages <= 0)
		return EXIT_USAGE;
	setvbuf(stdout, NULL, _IOLBF, 0);
	fd = open_sized(argv[1], pages * PAGE);
	if (strcmp(argv[4], "before") == 0)
		fill_up(argv[3]);
	base = map_shared(fd, pages * PAGE);
	if (fstat(fd, &stat) != 0)
		setup_failed("fstat");
	printf("size %lld blocks %lld\n", (long long)stat.st_size, (long long)stat.st_blocks);
	if (strcmp(argv[4], "after") == 0)
		fill_up(argv[3]);
	for (int round = 0; round < rounds; round++) {
		for (long page = 0; page < pages; page++)
			memset(base + page * PAGE, stored_byte(page, round), PAGE);
		sync_and_tell(base, pages * PAGE);
	}
	printf("lost %ld of %ld pages\n", lost_pages(argv[1], pages, rounds - 1), pages);
	return 0;
}
