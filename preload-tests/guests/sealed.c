/*
 * A mapping that is sealed: nothing may move it, change its protection or take it away (mseal(2)).
 *
 * usage: sealed FILE
 *
 * Stores to two pages of such a mapping, syncs it, stores to one again and syncs once more: `msync ERRNO` each time.
 * Exits with 2 where the kernel has no mseal.
 */
#include "guest.h"
#include <sys/syscall.h>

#ifndef SYS_mseal
#define SYS_mseal 462
#endif

int main(int argc, char **argv)
{
	char *base;

	if (argc != 2)
		return EXIT_USAGE;
	base = map_shared(open_filled(argv[1], 4), 4 * PAGE);
	if (syscall(SYS_mseal, base, 4 * PAGE, 0) != 0)
		setup_failed("mseal");
	if (mremap(base, 0, PAGE, MREMAP_MAYMOVE) != MAP_FAILED)
		puts("not sealed");
	base[0] = base[2 * PAGE] = 'a';
	sync_and_tell(base, 4 * PAGE);
	base[PAGE] = 'b';
	sync_and_tell(base, 4 * PAGE);
	printf("%c%c%c\n", base[0], base[PAGE], base[2 * PAGE]);
	return 0;
}
