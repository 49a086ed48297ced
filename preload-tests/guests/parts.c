/*
 * Which parts of a file that is one hole have blocks after each call that maps some of it.
 *
 * usage: parts FILE [reader]
 * With `reader` the first mapping of the file is made through a descriptor that cannot write.
 * Prints `WHAT: size SIZE pages FIRST-LAST...`.
 */
#include "guest.h"
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

enum { SIZE = 16 * PAGE + 100, EXTENTS = 32 };

/* Open all the time, and never mapped. */
static int looker;

static void tell(const char *what)
{
	struct {
		struct fiemap map;
		struct fiemap_extent extents[EXTENTS];
	} all = { .map = { .fm_length = FIEMAP_MAX_OFFSET, .fm_extent_count = EXTENTS } };
	struct stat stat;
	long first = -1, last = -1;

	if (fstat(looker, &stat) != 0 || ioctl(looker, FS_IOC_FIEMAP, &all) != 0)
		setup_failed("FIEMAP");
	printf("%s: size %lld pages", what, (long long)stat.st_size);
	for (unsigned i = 0; i <= all.map.fm_mapped_extents; i++) {
		struct fiemap_extent *extent = &all.extents[i];
		long from = extent->fe_logical / PAGE;

		if (i == all.map.fm_mapped_extents || from > last + 1) {
			if (last >= 0)
				printf(" %ld-%ld", first, last);
			first = from;
		}
		last = (extent->fe_logical + extent->fe_length - 1) / PAGE;
	}
	puts("");
}

static char *map(const char *what, int fd, int prot, int flags, int from, int to)
{
	char *base;

	errno = EXDEV;
	base = mmap(NULL, (to - from) * PAGE, prot, flags, fd, from * PAGE);
	if (base == MAP_FAILED || errno != EXDEV)
		setup_failed("%s", what);
	tell(what);
	return base;
}

static char *grow(const char *what, char *base, int from, int to)
{
	errno = EXDEV;
	base = mremap(base, from * PAGE, to * PAGE, MREMAP_MAYMOVE);
	if (base == MAP_FAILED || errno != EXDEV)
		setup_failed("%s", what);
	tell(what);
	return base;
}

int main(int argc, char **argv)
{
	int fd = open_sized(argv[1], SIZE), reader = open(argv[1], O_RDONLY);
	char *base;

	setvbuf(stdout, NULL, _IOLBF, 0);
	looker = open(argv[1], O_RDONLY);
	if (argc > 2)
		map("read only", reader, PROT_READ, MAP_SHARED, 0, 1);
	map("private", fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0, 1);
	base = map("shared", fd, PROT_READ | PROT_WRITE, MAP_SHARED, 2, 4);
	map("beyond the end", fd, PROT_NONE, MAP_SHARED, 15, 20);
	if (pwrite(fd, "w", 1, 7 * PAGE) != 1)
		setup_failed("pwrite");
	close(fd);
	close(reader);
	if (unlink(argv[1]) != 0)
		setup_failed("unlink");
	base = grow("unlinked and grown", base, 2, 4);
	base = grow("mapped twice", base, 0, 5);
	if (fork() == 0) {
		grow("by a child", base, 5, 8);
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	return 0;
}
