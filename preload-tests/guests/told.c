/*
 * usage: told FILE fsync|fdatasync|msync|close
 * Stores to a page through a mapping, writes another one, unmaps, and makes the call twice; msync through a new mapping.
 * Prints what each has returned.
 */
#include "guest.h"

static int call(const char *name, int fd)
{
	int result;

	if (strcmp(name, "fsync") == 0)
		return fsync(fd);
	if (strcmp(name, "fdatasync") == 0)
		return fdatasync(fd);
	if (strcmp(name, "msync") == 0) {
		char *base = map_shared(fd, PAGE);

		result = msync(base, PAGE, MS_SYNC);
		munmap(base, PAGE);
		return result;
	}
	return close(dup(fd));
}

int main(int argc, char **argv)
{
	char page[PAGE], *base;
	int fd;

	if (argc != 3)
		return EXIT_USAGE;
	fd = open_sized(argv[1], 2 * PAGE);
	base = map_shared(fd, PAGE);
	base[0] = 'n';
	memset(page, 'n', sizeof(page));
	if (pwrite(fd, page, sizeof(page), PAGE) != sizeof(page))
		setup_failed("pwrite");
	munmap(base, PAGE);
	for (int i = 0; i < 2; i++) {
		int result = call(argv[2], fd);

		printf("%s %s\n", argv[2], result == 0 ? "0" : errname(errno));
	}
	return 0;
}
