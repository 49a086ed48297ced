/*
 * What the guests of the benchmark share. Those that `serve` set themselves up, print
 * "ready", and then do one round for each line on standard input and print what it
 * took: names and nanoseconds. So that several can take turns, round by round.
 */
#ifndef BENCH_H
#define BENCH_H

#include "guest.h"

/* What the program does to be sure: as people write it by hand. */
enum how {
	MSYNC,     /* msync */
	FDATASYNC, /* msync, fdatasync */
	DROP,      /* msync, fdatasync, and the whole mapping and file out of the page cache */
};

static inline enum how parse_how(const char *name)
{
	static const char *const names[] = { "msync", "fdatasync", "drop" };

	for (int how = MSYNC; how <= DROP; how++)
		if (strcmp(name, names[how]) == 0)
			return how;
	fprintf(stderr, "no way to sync: %s\n", name);
	exit(EXIT_USAGE);
}

/* Syncs [at, at + length) of the mapping [base, base + all) of fd. */
static inline void sync_range(enum how how, int fd, char *at, size_t length, char *base, size_t all)
{
	if (msync(at, length, MS_SYNC) != 0)
		setup_failed("msync");
	if (how == MSYNC)
		return;
	if (fdatasync(fd) != 0)
		setup_failed("fdatasync");
	if (how == FDATASYNC)
		return;
	if (madvise(base, all, MADV_DONTNEED) != 0)
		setup_failed("madvise");
	if ((errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)) != 0)
		setup_failed("posix_fadvise");
}

static inline long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

static inline double now_us(void)
{
	return now_ns() / 1e3;
}

/* For qsort(3) of doubles. */
static inline int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Says that the setup is done, and calls `round` with each line until they end. */
static inline void serve(void (*round)(const char *line))
{
	char line[128];

	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		round(line);
		fflush(stdout);
	}
}

#endif
