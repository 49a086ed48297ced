/*
 * usage: syncdrop FILE
 * Maps 1 MiB, stores in three pages, msyncs the whole mapping, writes
 * `msync returned` to stdout in one write(2), and then what cachestat(2) says, or, where there is none,
 * mincore(2).
 */
#include "guest.h"
#include <sys/syscall.h>

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

enum { LENGTH = 1 << 20 };

struct cachestat_range { uint64_t off, len; };
struct cachestat { uint64_t cache, dirty, writeback, evicted, recently_evicted; };

int main(int argc, char **argv)
{
	static const char marker[] = "msync returned\n";
	struct cachestat_range all = { 0, 0 };
	struct cachestat stat;
	int fd;
	char *base;

	if (argc != 2)
		return EXIT_USAGE;
	fd = open_allocated(argv[1], LENGTH);
	base = map_shared(fd, LENGTH);
	for (int page = 0; page < 3; page++)
		base[page * 64 * PAGE + 5] = 'x';
	if (msync(base, LENGTH, MS_SYNC) != 0)
		setup_failed("msync");
	if (write(1, marker, sizeof(marker) - 1) < 0)
		setup_failed("write");
	if (syscall(SYS_cachestat, fd, &all, &stat, 0) != 0) {
		unsigned char pages[LENGTH / PAGE];
		int cached = 0;

		if (mincore(base, LENGTH, pages) != 0)
			setup_failed("mincore");
		for (size_t i = 0; i < sizeof(pages); i++)
			cached += pages[i] & 1;
		printf("cached %d\n", cached);
		return 0;
	}
	printf("cached %llu dirty %llu writeback %llu\n", (unsigned long long)stat.cache,
	       (unsigned long long)stat.dirty, (unsigned long long)stat.writeback);
	return 0;
}
