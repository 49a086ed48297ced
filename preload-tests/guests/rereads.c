/*
 * usage: rereads FILE
 * Syncs a mapping, then reads the file again and again, through two descriptors; stores, and does it once more. Prints what was
 * not read as it was stored.
 */
#include "guest.h"

enum { PAGES = 8, TIMES = 50 };

int main(int argc, char **argv)
{
	char *base, byte;
	int fd, other;

	if (argc != 2)
		return EXIT_USAGE;
	fd = open_filled(argv[1], PAGES);
	other = open(argv[1], O_RDONLY);
	base = map_shared(fd, PAGES * PAGE);
	for (int round = 0; round < 2; round++) {
		for (int page = 0; page < PAGES; page++)
			base[page * PAGE] = 'a' + round;
		printf("msync %s\n", errname(msync(base, PAGES * PAGE, MS_SYNC) ? errno : 0));
		for (int i = 0; i < TIMES; i++)
			for (int page = 0; page < PAGES; page++)
				if (pread(i % 2 ? fd : other, &byte, 1, page * PAGE) != 1 || byte != 'a' + round)
					printf("page %d: %c\n", page, byte);
	}
	return 0;
}
