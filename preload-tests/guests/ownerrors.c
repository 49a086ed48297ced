/*
 * The program's own view of a writeback error, through descriptors of its own.
 *
 * usage: ownerrors FILE fsync|msync|write
 * Stores, then:
 *   fsync: fsync of the mapped descriptor, never msync before;
 *   msync: msync first, in the first of two rounds;
 *   write: stores by pwrite through a second descriptor, fdatasync of both.
 * Prints what each call reported, twice over; a third descriptor, opened before, asks
 * at the end, and a fourth one, opened after.
 */
#include "guest.h"

static void tell(const char *what, int result)
{
	printf("%s: %d %s\n", what, result, errname(result ? errno : 0));
	errno = 0;
}

int main(int argc, char **argv)
{
	enum { LENGTH = 8 * PAGE };
	int mapped, second, third;
	char *base;

	if (argc != 3)
		return EXIT_USAGE;
	mapped = open_sized(argv[1], LENGTH);
	second = open(argv[1], O_RDWR);
	third = open(argv[1], O_RDONLY);
	if (second < 0 || third < 0)
		setup_failed("open %s", argv[1]);
	base = map_shared(mapped, LENGTH);
	/* What is stored before the first write is proved before it. */
	if (strcmp(argv[2], "write") == 0)
		tell("first pwrite", pwrite(second, "o", 1, 0) != 1);
	for (int round = 0; round < 2; round++) {
		memset(base, 'a' + round, LENGTH);
		/* To stderr: what it returned is not for comparison. */
		if (strcmp(argv[2], "msync") == 0 && round == 0)
			fprintf(stderr, "msync: %d\n", msync(base, LENGTH, MS_SYNC));
		if (strcmp(argv[2], "write") == 0) {
			char page[PAGE];

			memset(page, 'A' + round, PAGE);
			tell("pwrite", pwrite(second, page, PAGE, PAGE) != PAGE);
			tell("fdatasync of the second", fdatasync(second));
			tell("again", fdatasync(second));
		}
		tell("fsync of the mapped", fsync(mapped));
		tell("again", fsync(mapped));
	}
	tell("fdatasync of the third", fdatasync(third));
	tell("again", fdatasync(third));
	tell("fsync of one opened now", fsync(open(argv[1], O_RDWR)));
	tell("msync at the end", msync(base, LENGTH, MS_SYNC));
	tell("close of the second", close(second));
	tell("close of the mapped", close(mapped));
	return 0;
}
