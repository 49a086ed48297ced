/*
 * What a short life costs.
 *
 * usage: bench_spawn FILE ROUNDS
 *        bench_spawn FILE
 *
 * Starts itself anew with the file alone, so many times: that maps 1 MiB of it, stores to a page, syncs that and ends.
 * Prints the median of a start to the end of the process, in microseconds.
 */
#include "bench.h"
#include <spawn.h>

enum { SIZE = 1 << 20, MOST = 1000 };

extern char **environ;

static void live(const char *path)
{
	char *base = map_shared(open_sized(path, SIZE), SIZE);

	base[getpid() % (SIZE / PAGE) * PAGE] = 1;
	if (msync(base, SIZE, MS_SYNC) != 0)
		setup_failed("msync");
}

int main(int argc, char **argv)
{
	static double took[MOST];
	int rounds = argc == 3 ? atoi(argv[2]) : 0;

	if (argc == 2) {
		live(argv[1]);
		return 0;
	}
	if (rounds < 1 || rounds > MOST)
		return EXIT_USAGE;
	for (int i = 0; i < rounds; i++) {
		char *again[] = { argv[0], argv[1], NULL };
		struct timespec start, end;
		pid_t child;
		int status;

		clock_gettime(CLOCK_MONOTONIC, &start);
		if ((errno = posix_spawn(&child, "/proc/self/exe", NULL, NULL, again, environ)) != 0)
			setup_failed("posix_spawn");
		if (waitpid(child, &status, 0) != child || status != 0)
			setup_failed("the process ended with %#x", status);
		clock_gettime(CLOCK_MONOTONIC, &end);
		took[i] = (end.tv_sec - start.tv_sec) * 1e6 + (end.tv_nsec - start.tv_nsec) / 1e3;
	}
	qsort(took, rounds, sizeof(double), by_size);
	printf("%.0f\n", took[rounds / 2]);
	return 0;
}
