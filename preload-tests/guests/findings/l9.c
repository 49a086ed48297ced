/* msync is called twice. Right: something is stored in between. */
#include "../guest.h"

int main(int argc, char **argv)
{
	char *base = map_shared(open_allocated(argv[1], PAGE), PAGE);

	base[0] = 'a';
	if (msync(base, PAGE, MS_SYNC) != 0)
		return 1;
	if (argc > 2)
		base[0] = 'b';
	return msync(base, PAGE, MS_SYNC) != 0;
}
