/*
 * What a small file costs under a large mapping.
 *
 * usage: bench_sizes FILE MAPPED-GIB ROUNDS
 *
 * Maps so much of a file of 1 MiB, stores to a page, syncs that, and unmaps, in each round. Prints the medians of
 * mmap, msync and munmap, in microseconds. A small mapping stays throughout, so that the file stays known.
 */
#include "bench.h"

enum { SIZE = 1 << 20, MOST = 1000 };

int main(int argc, char **argv)
{
	static double took[3][MOST];
	size_t length;
	int fd, rounds;

	if (argc != 4)
		return EXIT_USAGE;
	length = (size_t)atol(argv[2]) << 30;
	rounds = atoi(argv[3]);
	if (rounds < 1 || rounds > MOST)
		return EXIT_USAGE;
	fd = open_filled(argv[1], SIZE / PAGE);
	map_shared(fd, PAGE);
	for (int i = 0; i < rounds; i++) {
		double start = now_us(), mapped, stored, synced;
		char *base = map_shared(fd, length);

		mapped = now_us();
		base[i * 7 % (SIZE / PAGE) * PAGE] = (char)i;
		stored = now_us();
		if (msync(base, SIZE, MS_SYNC) != 0)
			setup_failed("msync");
		synced = now_us();
		munmap(base, length);
		took[0][i] = mapped - start;
		took[1][i] = synced - stored;
		took[2][i] = now_us() - synced;
	}
	for (int i = 0; i < 3; i++) {
		qsort(took[i], rounds, sizeof(double), by_size);
		printf("%.0f%c", took[i][rounds / 2], i < 2 ? ' ' : '\n');
	}
	return 0;
}
