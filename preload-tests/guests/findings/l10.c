/* msync fails, and is called again until it does not. Right: what it was to write is stored again. */
#include "../guest.h"

int main(int argc, char **argv)
{
	char *base = map_shared(open_allocated(argv[1], PAGE), PAGE);

	base[0] = 'a';
	while (msync(base, PAGE, MS_SYNC) != 0)
		if (argc > 2)
			base[0] = 'a';
	return 0;
}
