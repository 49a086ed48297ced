/*
 * usage: gives_up FILE munmap|exit|truncate
 * An msync, and whatever it returns, the mapping goes.
 */
#include "guest.h"

int main(int argc, char **argv)
{
	int fd = open_sized(argv[1], 2 * PAGE);
	char *base = map_shared(fd, 2 * PAGE);

	if (argc != 3)
		return EXIT_USAGE;
	memset(base, 'n', 2 * PAGE);
	printf("msync %s\n", errname(msync(base, 2 * PAGE, MS_SYNC) ? errno : 0));
	if (strcmp(argv[2], "munmap") == 0)
		munmap(base, 2 * PAGE);
	else if (strcmp(argv[2], "truncate") == 0)
		printf("ftruncate %s\n", errname(ftruncate(fd, 0) ? errno : 0));
	return 0;
}
