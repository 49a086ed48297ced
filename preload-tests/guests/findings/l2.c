/* Two pages are stored to, one is synced. Right: both are. */
#include "../guest.h"

int main(int argc, char **argv)
{
	char *base = map_shared(open_allocated(argv[1], 2 * PAGE), 2 * PAGE);

	base[0] = 'a';
	base[PAGE] = 'b';
	return msync(base, argc > 2 ? 2 * PAGE : PAGE, MS_SYNC) != 0;
}
