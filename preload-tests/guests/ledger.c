/*
 * usage: ledger FILE SEED
 * Stores ever further into a 64 MiB file, in pieces of 1 to 10,000 bytes that do not
 * overlap, and after each msync that returned 0 says so with one write(2):
 * `OFFSET LENGTH`. The byte at each position is `1 + position % 250`.
 * Ends when killed, or at the end of the file.
 */
#include "guest.h"

enum { FILE_SIZE = 64 << 20, LONGEST = 10000 };

int main(int argc, char **argv)
{
	unsigned seed;
	size_t at = 0;
	char *base, line[64];
	int fd;

	if (argc != 3)
		return EXIT_USAGE;
	seed = atoi(argv[2]);
	fd = open_sized(argv[1], FILE_SIZE);
	base = map_shared(fd, FILE_SIZE);
	while (at + 2 * LONGEST < FILE_SIZE) {
		size_t length = 1 + rand_r(&seed) % LONGEST;
		int n;

		for (size_t i = at; i < at + length; i++)
			base[i] = 1 + i % 250;
		if (msync(base, FILE_SIZE, MS_SYNC) == 0) {
			n = snprintf(line, sizeof(line), "%zu %zu\n", at, length);
			if (write(1, line, n) != n)
				setup_failed("write");
		}
		at += length + rand_r(&seed) % LONGEST;
	}
	return 0;
}
