/*
 * Pages that were stored to and then taken out of the file are no loss.
 *
 * usage: punched FILE madvise|fallocate|ftruncate
 * Stores to pages 5, 20, 40 and the last, takes pages 4 to 7 out (all from 10 on, by making the file
 * shorter and longer again), stores to page 6 again, and msyncs. Prints `msync ERRNO` before and after,
 * and the first byte of these pages as the file has them.
 */
#include "guest.h"

enum { PAGES = 64, LENGTH = PAGES * PAGE };

int main(int argc, char **argv)
{
	static const int shown[] = { 4, 5, 6, 20, 40, PAGES - 1 };
	int fd, done;
	char *base, byte;

	if (argc != 3)
		return EXIT_USAGE;
	fd = open_filled(argv[1], PAGES);
	base = map_shared(fd, LENGTH);
	base[0] = 'x';
	sync_and_tell(base, LENGTH);
	base[5 * PAGE] = base[20 * PAGE] = base[40 * PAGE] = base[(PAGES - 1) * PAGE] = 'y';
	if (strcmp(argv[2], "madvise") == 0)
		done = madvise(base + 4 * PAGE, 4 * PAGE, MADV_REMOVE);
	else if (strcmp(argv[2], "ftruncate") == 0)
		done = ftruncate(fd, 10 * PAGE) + ftruncate(fd, PAGES * PAGE);
	else
		done = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * PAGE, 4 * PAGE);
	if (done != 0)
		setup_failed("%s", argv[2]);
	base[6 * PAGE] = 'z';
	sync_and_tell(base, LENGTH);
	for (size_t i = 0; i < sizeof(shown) / sizeof(*shown); i++) {
		if (pread(fd, &byte, 1, shown[i] * PAGE) != 1)
			setup_failed("pread");
		printf("%d %d\n", shown[i], byte);
	}
	return 0;
}
