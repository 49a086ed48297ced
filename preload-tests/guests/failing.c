/*
 * usage: failing DIRECTORY FILES
 * Stores to so many new files, one after the other, syncs and unmaps each. Prints how many msyncs have failed.
 */
#include "guest.h"

int main(int argc, char **argv)
{
	int failed = 0;
	char path[4096];

	if (argc != 3)
		return EXIT_USAGE;
	for (int i = 0; i < atoi(argv[2]); i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/f%d", argv[1], i);
		fd = open_sized(path, PAGE);
		failed += store_and_sync(fd, PAGE, 'n') != 0;
		close(fd);
	}
	printf("%d failed\n", failed);
	return 0;
}
