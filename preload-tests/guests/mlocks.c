/*
 * Locks mappings in memory whose pages were never touched, in each way and with each protection that
 * a shared mapping can have.
 *
 * usage: mlocks FILE
 */
#include "guest.h"

enum { LENGTH = 10 * PAGE };

static int lock_one(void *base, size_t length)
{
	return mlock(base, length);
}

static int lock_two(void *base, size_t length)
{
	return mlock2(base, length, 0);
}

static int lock_on_fault(void *base, size_t length)
{
	return mlock2(base, length, MLOCK_ONFAULT);
}

static int lock_all(void *base, size_t length)
{
	(void)base;
	(void)length;
	return mlockall(MCL_CURRENT);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*lock)(void *, size_t);
	} ways[] = { { "mlock", lock_one },
		     { "mlock2", lock_two },
		     { "mlock2 on fault", lock_on_fault },
		     { "mlockall", lock_all } };
	static const struct {
		const char *name;
		int first, rest;
	} protections[] = { { "read and write", PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE },
			    { "write", PROT_WRITE, PROT_WRITE },
			    { "read", PROT_READ, PROT_READ },
			    { "mixed", PROT_READ | PROT_WRITE, PROT_WRITE } };

	if (argc != 2)
		return EXIT_USAGE;
	for (size_t way = 0; way < sizeof(ways) / sizeof(*ways); way++) {
		for (size_t p = 0; p < sizeof(protections) / sizeof(*protections); p++) {
			int fd = open_sized(argv[1], LENGTH), result;
			char *base = mmap(NULL, LENGTH, protections[p].first, MAP_SHARED, fd, 0);

			if (base == MAP_FAILED)
				setup_failed("mmap");
			if (protections[p].rest != protections[p].first &&
			    mprotect(base + PAGE, LENGTH - PAGE, protections[p].rest) != 0)
				setup_failed("mprotect");
			result = ways[way].lock(base, LENGTH);
			printf("%s, %s: %d %s\n", ways[way].name, protections[p].name, result,
			       errname(result ? errno : 0));
			munlockall();
			result = msync(base, LENGTH, MS_SYNC);
			printf("msync %d %s\n", result, errname(result ? errno : 0));
			munmap(base, LENGTH);
			close(fd);
			unlink(argv[1]);
		}
	}
	return 0;
}
