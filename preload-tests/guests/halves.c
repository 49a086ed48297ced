/*
 * A store that another process's open interrupts.
 *
 * usage: halves FILE [retry|twice|read]
 * Stores the first half of a page, has a child open the file, stores the second half, msyncs, and
 * reads the page back through another descriptor. With `retry` the child opens it after an msync,
 * and a second msync follows, as it does with `twice`. With `read` there is an msync before, and all of the file is read
 * between the halves. Prints `msync ERRNO` for each, and `first|second half new|old`.
 */
#include <sys/syscall.h>
#include "guest.h"

enum { SIZE = 6 * PAGE, AT = 5 * PAGE, HALF = PAGE / 2 };

static char *base;

/* A FUSE open without KEEP_CACHE drops the pages of the file, in every process. */
static void let_another_open(const char *path)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		/* As another program does it: the shim does not see the call. */
		int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);

		_exit(fd < 0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		setup_failed("a child that opens %s", path);
}

int main(int argc, char **argv)
{
	char old[SIZE], page[PAGE], want[HALF];
	int fd, reader;
	int retries = argc > 2 && strcmp(argv[2], "retry") == 0;
	int reads = argc > 2 && strcmp(argv[2], "read") == 0;

	if (argc < 2)
		return EXIT_USAGE;
	fd = open_sized(argv[1], SIZE);
	memset(old, 'o', sizeof(old));
	memset(want, 'n', sizeof(want));
	if (pwrite(fd, old, sizeof(old), 0) != sizeof(old) || fsync(fd) != 0)
		setup_failed("pwrite");
	base = map_shared(fd, SIZE);
	if (reads) {
		memset(base, 'n', 1);
		sync_and_tell(base, SIZE);
	}
	memset(base + AT, 'n', HALF);
	if (reads && pread(fd, old, SIZE, 0) != SIZE)
		setup_failed("pread");
	if (retries)
		sync_and_tell(base, SIZE);
	let_another_open(argv[1]);
	if (!retries)
		memset(base + AT + HALF, 'n', HALF);
	sync_and_tell(base, SIZE);
	if (argc > 2 && strcmp(argv[2], "twice") == 0)
		sync_and_tell(base, SIZE);

	reader = open(argv[1], O_RDONLY);
	if (pread(reader, page, sizeof(page), AT) != sizeof(page))
		setup_failed("pread");
	printf("first half %s\n", memcmp(page, want, HALF) == 0 ? "new" : "old");
	printf("second half %s\n", memcmp(page + HALF, want, HALF) == 0 ? "new" : "old");
	return 0;
}
