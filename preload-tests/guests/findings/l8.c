/* The file is truncated below a page that was stored to. Right: that page was not. */
#include "../guest.h"

int main(int argc, char **argv)
{
	int fd = open_allocated(argv[1], 2 * PAGE);
	char *base = map_shared(fd, 2 * PAGE);

	base[argc > 2 ? 0 : PAGE] = 'a';
	if (ftruncate(fd, PAGE) != 0)
		return 1;
	return msync(base, PAGE, MS_SYNC) != 0;
}
