/*
 * usage: drains FILE ROUNDS [by-hand]
 * Maps 16 pages of FILE, and in each round stores to eight of them and syncs. With `by-hand` it drops the page cache
 * itself after that, while it keeps a ninth page in memory, as the shim does.
 */
#include "guest.h"

enum { PAGES = 16, STORED = 8 };

int main(int argc, char **argv)
{
	int fd, rounds, by_hand = argc == 4;
	char *base;

	if (argc < 3)
		return EXIT_USAGE;
	rounds = atoi(argv[2]);
	fd = open_filled(argv[1], PAGES);
	base = map_shared(fd, PAGES * PAGE);
	if (by_hand && mlock(base + STORED * PAGE, PAGE) != 0)
		setup_failed("mlock");
	for (int round = 0; round < rounds; round++) {
		for (int page = 0; page < STORED; page++)
			base[page * PAGE] = (char)round;
		if (msync(base, PAGES * PAGE, MS_SYNC) != 0)
			setup_failed("msync");
		if (!by_hand)
			continue;
		if (madvise(base, STORED * PAGE, MADV_DONTNEED) != 0)
			setup_failed("madvise");
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	return 0;
}
