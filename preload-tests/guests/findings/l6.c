/* The only msync of a page has MS_ASYNC. Right: one with MS_SYNC follows. */
#include "../guest.h"

int main(int argc, char **argv)
{
	char *base = map_shared(open_allocated(argv[1], PAGE), PAGE);

	base[0] = 'a';
	if (msync(base, PAGE, MS_ASYNC) != 0)
		return 1;
	if (argc > 2 && msync(base, PAGE, MS_SYNC) != 0)
		return 1;
	return munmap(base, PAGE) != 0;
}
