/*
 * What calls cost that have nothing to do with what is mapped.
 *
 * usage: bench_calls FILE
 *
 * Maps FILE, stores to it and syncs that. It stays mapped. Prints the medians of a thousand calls on another file, in
 * microseconds: pread, write (and lseek), pwrite, open and close, fsync with nothing to sync; and of as many rounds of a third file
 * that is opened, mapped, stored to, unmapped and closed.
 */
#include "bench.h"
#include <limits.h>
#include <stdbool.h>

enum { CALLS = 1000, ROUNDS = 11, KINDS = 6 };

static char buffer[64];

static bool call(int kind, int fd, const char *other, const char *third)
{
	char *base;

	switch (kind) {
	case 0:
		return pread(fd, buffer, sizeof(buffer), 0) == sizeof(buffer);
	case 1:
		return lseek(fd, 0, SEEK_SET) == 0 && write(fd, buffer, sizeof(buffer)) == sizeof(buffer);
	case 2:
		return pwrite(fd, buffer, sizeof(buffer), 0) == sizeof(buffer);
	case 3:
		fd = open(other, O_RDONLY);
		return fd >= 0 && close(fd) == 0;
	case 4:
		return fsync(fd) == 0;
	default:
		fd = open(third, O_RDWR);
		if (fd < 0)
			return false;
		base = map_shared(fd, PAGE);
		base[0]++;
		return munmap(base, PAGE) == 0 && close(fd) == 0;
	}
}

int main(int argc, char **argv)
{
	static double took[KINDS][ROUNDS];
	char other[PATH_MAX], third[PATH_MAX];
	char *base;
	int fd;

	if (argc != 2)
		return EXIT_USAGE;
	base = map_shared(open_filled(argv[1], 1), PAGE);
	base[0] = 1;
	if (msync(base, PAGE, MS_SYNC) != 0)
		setup_failed("msync");
	snprintf(other, sizeof(other), "%s.other", argv[1]);
	snprintf(third, sizeof(third), "%s.third", argv[1]);
	fd = open_filled(other, 1);
	close(open_filled(third, 1));
	for (int i = 0; i < ROUNDS; i++)
		for (int kind = 0; kind < KINDS; kind++) {
			double start = now_us();

			for (int n = 0; n < CALLS; n++)
				if (!call(kind, fd, other, third))
					setup_failed("call %d", kind);
			took[kind][i] = now_us() - start;
		}
	for (int kind = 0; kind < KINDS; kind++) {
		qsort(took[kind], ROUNDS, sizeof(double), by_size);
		printf("%.0f%c", took[kind][ROUNDS / 2], kind < KINDS - 1 ? ' ' : '\n');
	}
	unlink(other);
	unlink(third);
	return 0;
}
