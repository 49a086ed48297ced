/*
 * A sync that fails, and one that does not.
 *
 * usage: retry FILE CONTROL_SOCKET
 * Stores as the seed case does (with pages of 4 KiB, 9927 bytes at 4442856, over four pages), msyncs, looks at the
 * memory and, with cachestat(2), at the page cache; has the test bed turn honest, and msyncs
 * again. Prints `msync ERRNO`, `memory kept|changed`, `cached N dirty N` (of the four pages; without
 * that call `cached N dirty unknown`, by mincore(2)), `msync ERRNO`.
 */
#include "control.h"
#include <sys/syscall.h>

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

enum {
	FILE_SIZE = 3125 * PAGE,
	FIRST_PAGE = 1084 * PAGE,
	STORE_AT = FIRST_PAGE + PAGE - 1304,
	STORE_LEN = 1304 + 2 * PAGE + 431,
	PAGES = 4,
	OLD_LEN = 3 * PAGE, /* the last page is a hole */
};

struct cachestat_range { uint64_t off, len; };
struct cachestat { uint64_t cache, dirty, writeback, evicted, recently_evicted; };

static char old[PAGES * PAGE], store[STORE_LEN];

int main(int argc, char **argv)
{
	struct cachestat_range pages = { FIRST_PAGE, sizeof(old) };
	struct cachestat stat = { 0 };
	char *base;
	int fd;

	if (argc != 3)
		return EXIT_USAGE;
	fd = open_sized(argv[1], FILE_SIZE);
	memset(old, 'o', OLD_LEN);
	for (int i = 0; i < STORE_LEN; i++)
		store[i] = 'A' + i % 26;
	if (pwrite(fd, old, OLD_LEN, FIRST_PAGE) != OLD_LEN || fsync(fd) != 0)
		setup_failed("pwrite");
	base = map_shared(fd, FILE_SIZE);
	memcpy(base + STORE_AT, store, STORE_LEN);

	sync_and_tell(base, FILE_SIZE);
	printf("memory %s\n", memcmp(base + STORE_AT, store, STORE_LEN) == 0 ? "kept" : "changed");
	if (syscall(SYS_cachestat, fd, &pages, &stat, 0) == 0) {
		printf("cached %llu dirty %llu\n", (unsigned long long)stat.cache,
			(unsigned long long)(stat.dirty + stat.writeback));
	} else {
		unsigned char in_core[PAGES];
		int cached = 0;

		if (mincore(base + FIRST_PAGE, sizeof(old), in_core) != 0)
			setup_failed("mincore");
		for (int i = 0; i < PAGES; i++)
			cached += in_core[i] & 1;
		printf("cached %d dirty unknown\n", cached);
	}
	ask_control(connect_control(argv[2]), TURN_HONEST);
	sync_and_tell(base, FILE_SIZE);
	return 0;
}
