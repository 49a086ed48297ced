/*
 * usage: windows FILE
 * Maps one window of the file after the other, reads a byte of each, and unmaps it. Prints how many.
 */
#include "guest.h"

enum { WINDOWS = 12 };

int main(int argc, char **argv)
{
	int fd, done = 0;

	if (argc != 2)
		return EXIT_USAGE;
	fd = open_filled(argv[1], WINDOWS);
	for (int i = 0; i < WINDOWS; i++) {
		char *window = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, i * PAGE);

		done += window != MAP_FAILED && *window == 'o' && munmap(window, PAGE) == 0;
	}
	printf("%d windows\n", done);
	return 0;
}
