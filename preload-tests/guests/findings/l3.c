/* A page is stored to and unmapped. Right: it is synced first. */
#include "../guest.h"

int main(int argc, char **argv)
{
	char *base = map_shared(open_allocated(argv[1], PAGE), PAGE);

	base[0] = 'a';
	if (argc > 2 && msync(base, PAGE, MS_SYNC) != 0)
		return 1;
	return munmap(base, PAGE) != 0;
}
