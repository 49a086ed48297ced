/* A page is stored to, and the process exits. Right: it is synced first. */
#include "../guest.h"

int main(int argc, char **argv)
{
	char *base = map_shared(open_allocated(argv[1], PAGE), PAGE);

	base[0] = 'a';
	return argc > 2 && msync(base, PAGE, MS_SYNC) != 0;
}
