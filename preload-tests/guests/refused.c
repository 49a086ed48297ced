/*
 * msyncs that the kernel refuses, before one that it takes.
 *
 * usage: refused FILE
 * Stores to a page and calls msync with arguments that give EINVAL and, where memory can be locked, EBUSY;
 * then rightly. Prints what each answers.
 */
#include "guest.h"

static void sync_with(const char *what, void *base, int flags)
{
	int result = msync(base, PAGE, flags);

	printf("%s %s\n", what, errname(result == 0 ? 0 : errno));
}

int main(int argc, char **argv)
{
	char *base;

	if (argc != 2)
		return EXIT_USAGE;
	base = map_shared(open_sized(argv[1], 2 * PAGE), 2 * PAGE);
	memset(base, 'x', PAGE);
	sync_with("unaligned", base + 1, MS_SYNC);
	sync_with("both", base, MS_SYNC | MS_ASYNC);
	if (mlock(base, PAGE) != 0)
		setup_failed("mlock");
	sync_with("locked", base, MS_SYNC | MS_INVALIDATE);
	munlock(base, PAGE);
	sync_with("right", base, MS_SYNC);
	return 0;
}
