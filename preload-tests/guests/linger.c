/*
 * usage: linger FILE
 * Stores 'n' over a page of 'o', msyncs, prints `msync ERRNO` with one write(2), and stays
 * until it is killed.
 */
#include "guest.h"

int main(int argc, char **argv)
{
	char old[2 * PAGE], line[32], *base;
	int fd, n;

	if (argc != 2)
		return EXIT_USAGE;
	fd = open_sized(argv[1], sizeof(old));
	memset(old, 'o', sizeof(old));
	if (pwrite(fd, old, sizeof(old), 0) != sizeof(old) || fsync(fd) != 0)
		setup_failed("pwrite");
	base = map_shared(fd, sizeof(old));
	memset(base + PAGE, 'n', PAGE);
	n = msync(base, sizeof(old), MS_SYNC);
	n = snprintf(line, sizeof(line), "msync %s\n", errname(n == 0 ? 0 : errno));
	if (write(1, line, n) != n)
		setup_failed("write");
	for (;;)
		pause();
}
