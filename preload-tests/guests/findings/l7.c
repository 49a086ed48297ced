/* A file of one page is mapped and synced as two. Right: the file has two. */
#include "../guest.h"

int main(int argc, char **argv)
{
	char *base = map_shared(open_allocated(argv[1], argc > 2 ? 2 * PAGE : PAGE), 2 * PAGE);

	base[0] = 'a';
	return msync(base, 2 * PAGE, MS_SYNC) != 0;
}
