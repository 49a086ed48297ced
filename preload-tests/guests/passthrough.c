/*
 * One call many times, to count or time what it costs.
 *
 * usage: passthrough CALL COUNT FILE [TRACKED]
 * CALL is read, pread, readv, write, pwrite, writev, fsync, fdatasync, open, mmap, msync, ftruncate or execve.
 * Calls on FILE (open: and close; mmap: anonymous memory, mapped and unmapped; msync: anonymous
 * memory; fsync, fdatasync, ftruncate and execve fail). With TRACKED, that file is mapped, stored to and synced first, and stays
 * mapped. Prints the nanoseconds that one call took.
 */
#include "guest.h"
#include <sys/uio.h>

static char buffer[64];

/* Not a constant for the compiler, so that FORTIFY checks at run time. */
static volatile size_t one = 1;

int main(int argc, char **argv)
{
	struct iovec vector = { buffer, 1 };
	double start;
	long count;
	int fd;
	void *memory;

	if (argc < 4)
		return EXIT_USAGE;
	count = atol(argv[2]);
	fd = open(argv[3], strstr(argv[1], "write") ? O_RDWR : O_RDONLY);
	if (fd < 0)
		setup_failed("open %s", argv[3]);
	if (argc > 4) {
		int tracked = open_sized(argv[4], 4 * PAGE);
		char *base = map_shared(tracked, 4 * PAGE);

		memset(base, 'x', 4 * PAGE);
		if (msync(base, 4 * PAGE, MS_SYNC) != 0)
			setup_failed("msync");
	}
	memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		setup_failed("mmap");
	start = seconds_now();
	if (strcmp(argv[1], "read") == 0) {
		for (long i = 0; i < count; i++)
			if (read(fd, buffer, one) != 1)
				setup_failed("read");
	} else if (strcmp(argv[1], "pread") == 0) {
		for (long i = 0; i < count; i++)
			if (pread(fd, buffer, one, 0) != 1)
				setup_failed("pread");
	} else if (strcmp(argv[1], "readv") == 0) {
		for (long i = 0; i < count; i++)
			if (readv(fd, &vector, 1) != 1)
				setup_failed("readv");
	} else if (strcmp(argv[1], "write") == 0) {
		for (long i = 0; i < count; i++)
			if (write(fd, buffer, one) != 1)
				setup_failed("write");
	} else if (strcmp(argv[1], "pwrite") == 0) {
		for (long i = 0; i < count; i++)
			if (pwrite(fd, buffer, one, 0) != 1)
				setup_failed("pwrite");
	} else if (strcmp(argv[1], "writev") == 0) {
		for (long i = 0; i < count; i++)
			if (writev(fd, &vector, 1) != 1)
				setup_failed("writev");
	} else if (strcmp(argv[1], "fsync") == 0) {
		for (long i = 0; i < count; i++)
			if (fsync(fd) != -1)
				setup_failed("fsync");
	} else if (strcmp(argv[1], "fdatasync") == 0) {
		for (long i = 0; i < count; i++)
			if (fdatasync(fd) != -1)
				setup_failed("fdatasync");
	} else if (strcmp(argv[1], "open") == 0) {
		for (long i = 0; i < count; i++) {
			int other = open(argv[3], O_RDONLY);

			if (other < 0 || close(other) != 0)
				setup_failed("open");
		}
	} else if (strcmp(argv[1], "mmap") == 0) {
		for (long i = 0; i < count; i++) {
			void *map = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			if (map == MAP_FAILED || munmap(map, PAGE) != 0)
				setup_failed("mmap");
		}
	} else if (strcmp(argv[1], "ftruncate") == 0) {
		for (long i = 0; i < count; i++)
			if (ftruncate(fd, one) != -1)
				setup_failed("ftruncate");
	} else if (strcmp(argv[1], "execve") == 0) {
		for (long i = 0; i < count; i++)
			if (execve("", argv, NULL) != -1)
				setup_failed("execve");
	} else if (strcmp(argv[1], "msync") == 0) {
		for (long i = 0; i < count; i++)
			if (msync(memory, PAGE, MS_SYNC) != 0)
				setup_failed("msync");
	} else {
		return EXIT_USAGE;
	}
	printf("%.1f\n", (seconds_now() - start) * 1e9 / count);
	return 0;
}
