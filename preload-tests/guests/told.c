/*
 * usage: told FILE CALL [OTHER]
 * Stores to a page through a mapping, writes another one, unmaps, and makes the call twice, and then the other one; msync
 * through a new mapping, and what closes a descriptor through a copy. Prints what each has returned.
 */
#include "guest.h"

/* Descriptors from here on are nobody's. */
enum { FREE = 100 };

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
	if (strcmp(name, "syncfs") == 0)
		return syncfs(fd);
	if (strcmp(name, "sync_file_range") == 0)
		return sync_file_range(fd, 0, 0,
				       SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
	if (strcmp(name, "fclose") == 0)
		return fclose(fdopen(dup(fd), "r+"));
	if (strcmp(name, "freopen") == 0) {
		FILE *again = freopen("/dev/null", "r+", fdopen(dup(fd), "r+"));

		return again == NULL ? -1 : fclose(again);
	}
	if (strcmp(name, "dup2") == 0 || strcmp(name, "dup3") == 0) {
		int over = dup(fd), null = open("/dev/null", O_RDONLY);
		int result = name[3] == '2' ? dup2(null, over) : dup3(null, over, O_CLOEXEC);

		close(null);
		return close(over) != 0 || result != over ? -1 : 0;
	}
	if (strcmp(name, "close_range") == 0 || strcmp(name, "closefrom") == 0) {
		if (dup2(fd, FREE) != FREE)
			setup_failed("dup2");
		if (name[5] == '_')
			return close_range(FREE, FREE, 0);
		closefrom(FREE);
		return 0;
	}
	return close(dup(fd));
}

static void tell(const char *name, int fd)
{
	int result = call(name, fd);

	printf("%s %s\n", name, result == 0 ? "0" : errname(errno));
}

int main(int argc, char **argv)
{
	char page[PAGE], *base;
	int fd;

	if (argc != 3 && argc != 4)
		return EXIT_USAGE;
	fd = open_sized(argv[1], 2 * PAGE);
	base = map_shared(fd, PAGE);
	memset(page, 'n', sizeof(page));
	/* First: what is stored before the first write is proved before it. */
	if (pwrite(fd, page, sizeof(page), PAGE) != sizeof(page))
		setup_failed("pwrite");
	base[0] = 'n';
	munmap(base, PAGE);
	for (int i = 0; i < 2; i++)
		tell(argv[2], fd);
	if (argc == 4)
		tell(argv[3], fd);
	return 0;
}
