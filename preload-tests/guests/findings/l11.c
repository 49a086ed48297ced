/* A page of a hole is stored to. Right: its blocks are allocated first. */
#include "../guest.h"

int main(int argc, char **argv)
{
	int fd = argc > 2 ? open_allocated(argv[1], 2 * PAGE) : open_sized(argv[1], 2 * PAGE);
	char *base = map_shared(fd, 2 * PAGE);

	base[PAGE] = 'a';
	return msync(base, 2 * PAGE, MS_SYNC) != 0;
}
