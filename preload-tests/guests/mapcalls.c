/*
 * usage: mapcalls FILE
 * mmap, munmap and mremap called in every odd way on a shared file mapping: results
 * and errno, what is mapped afterwards, and that msync still works on it.
 */
#include "guest.h"

enum { PAGES = 16, LENGTH = PAGES * PAGE };

static int fd, failures;

/* The last result, for the next call. */
static char *last;

static void map(const char *what, void *hint, size_t length, int prot, int flags, int from, off_t offset)
{
	char *base;

	errno = EXDEV;
	base = mmap(hint, length, prot, flags, from, offset);
	printf("%s: %s %s\n", what,
	       base == MAP_FAILED ? "failed" : hint != NULL && base == hint ? "there" : "somewhere", errname(errno));
	last = base;
	if (base == MAP_FAILED || length == 0)
		return;
	if (prot & PROT_WRITE)
		base[0] = 'm';
	printf("  msync %d\n", msync(base, length, MS_SYNC));
}

static void unmap(const char *what, void *base, size_t length)
{
	int result;

	errno = EXDEV;
	result = munmap(base, length);
	printf("%s: %d %s\n", what, result, errname(errno));
}

static char *move(const char *what, char *old, size_t old_length, size_t length, int flags, char *to)
{
	char *base;

	errno = EXDEV;
	base = mremap(old, old_length, length, flags, to);
	printf("%s: %s %s\n", what, base == MAP_FAILED ? "failed" : base == old ? "in place" : "moved", errname(errno));
	if (base == MAP_FAILED)
		return NULL;
	base[0] = 'r';
	base[length - 1] = 'r';
	printf("  msync %d\n", msync(base, length, MS_SYNC));
	return base;
}

/* What pread sees of the first byte after a store and msync through `base`. */
static void check(const char *what, char *base, off_t offset)
{
	char back;
	static char byte = 'a';

	base[0] = ++byte;
	if (msync(base, PAGE, MS_SYNC) != 0 || pread(fd, &back, 1, offset) != 1 || back != byte) {
		printf("%s: not synced\n", what);
		failures++;
	}
}

int main(int argc, char **argv)
{
	const int rw = PROT_READ | PROT_WRITE;
	char *area, *base, *second;
	int reader, directory;

	if (argc != 2)
		return EXIT_USAGE;
	fd = open_sized(argv[1], LENGTH);
	reader = open(argv[1], O_RDONLY);
	directory = open("/", O_RDONLY | O_DIRECTORY);
	area = mmap(NULL, 4 * LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	map("shared", NULL, LENGTH, rw, MAP_SHARED, fd, 0);
	map("shared validate", NULL, LENGTH, rw, MAP_SHARED_VALIDATE, fd, 0);
	map("shared validate, unknown flag", NULL, LENGTH, rw, MAP_SHARED_VALIDATE | 0x40000000, fd, 0);
	map("shared, unknown flag", NULL, LENGTH, rw, MAP_SHARED | 0x40000000, fd, 0);
	map("MAP_SYNC", NULL, LENGTH, rw, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);
	map("no type", NULL, LENGTH, rw, 0, fd, 0);
	map("populate", NULL, LENGTH, rw, MAP_SHARED | MAP_POPULATE, fd, 0);
	map("locked", NULL, LENGTH, rw, MAP_SHARED | MAP_LOCKED, fd, 0);
	map("noreserve", NULL, LENGTH, rw, MAP_SHARED | MAP_NORESERVE, fd, 0);
	map("length 0", NULL, 0, rw, MAP_SHARED, fd, 0);
	map("length too long", NULL, SIZE_MAX / 2, PROT_READ, MAP_SHARED, fd, 0);
	map("odd length", NULL, 5000, rw, MAP_SHARED, fd, PAGE);
	map("odd offset", NULL, PAGE, rw, MAP_SHARED, fd, 100);
	map("negative offset", NULL, PAGE, rw, MAP_SHARED, fd, -PAGE);
	map("descriptor -1", NULL, PAGE, rw, MAP_SHARED, -1, 0);
	map("closed descriptor", NULL, PAGE, rw, MAP_SHARED, 1000, 0);
	map("directory", NULL, PAGE, PROT_READ, MAP_SHARED, directory, 0);
	map("read-only, to write", NULL, PAGE, rw, MAP_SHARED, reader, 0);
	map("read-only, to read", NULL, PAGE, PROT_READ, MAP_SHARED, reader, 0);
	map("read-only, private", NULL, PAGE, rw, MAP_PRIVATE, reader, 0);
	map("anonymous with descriptor", NULL, PAGE, rw, MAP_SHARED | MAP_ANONYMOUS, fd, 0);

	map("fixed", area, LENGTH, rw, MAP_SHARED | MAP_FIXED, fd, 0);
	check("fixed", area, 0);
	map("fixed, misaligned", area + 1, LENGTH, rw, MAP_SHARED | MAP_FIXED, fd, 0);
	map("fixed, no replace", area, PAGE, rw, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	map("fixed over the middle", area + 4 * PAGE, PAGE, rw, MAP_SHARED | MAP_FIXED, fd, 8 * PAGE);
	check("the middle", area + 4 * PAGE, 8 * PAGE);
	check("behind the middle", area + 5 * PAGE, 5 * PAGE);
	map("anonymous over a part", area + 6 * PAGE, PAGE, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	check("behind the part", area + 7 * PAGE, 7 * PAGE);

	unmap("front", area, 2 * PAGE);
	check("after the front", area + 2 * PAGE, 2 * PAGE);
	unmap("back", area + 15 * PAGE, PAGE);
	check("before the back", area + 14 * PAGE, 14 * PAGE);
	unmap("middle", area + 10 * PAGE, PAGE);
	check("after the middle", area + 11 * PAGE, 11 * PAGE);
	unmap("what is not there", area + 10 * PAGE, PAGE);
	unmap("misaligned", area + 1, PAGE);
	unmap("length 0", area + 2 * PAGE, 0);
	unmap("odd length", area + 11 * PAGE, 1);
	unmap("wrap around", area + 2 * PAGE, SIZE_MAX - PAGE);
	unmap("all", area, 4 * LENGTH);

	area = mmap(NULL, 8 * LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	map("to move", area, 4 * PAGE, rw, MAP_SHARED | MAP_FIXED, fd, 0);
	base = area;
	move("grow in place, where it cannot", base, 4 * PAGE, 5 * PAGE, 0, NULL);
	base = move("shrink", base, 4 * PAGE, 3 * PAGE, 0, NULL);
	base = move("grow and move", base, 3 * PAGE, 8 * PAGE, MREMAP_MAYMOVE, NULL);
	check("grown", base + 7 * PAGE, 7 * PAGE);
	base = move("to a place", base, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, area + LENGTH);
	printf("where asked: %d\n", base == area + LENGTH);
	check("there", base + PAGE, PAGE);
	second = move("a second view", base, 0, 8 * PAGE, MREMAP_MAYMOVE, NULL);
	check("second", second + 2 * PAGE, 2 * PAGE);
	check("first", base + 2 * PAGE, 2 * PAGE);
	second = move("leave behind", second, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	if (second != NULL)
		check("moved", second, 0);
	move("misaligned", base + 1, PAGE, PAGE, MREMAP_MAYMOVE, NULL);
	move("unknown flags", base, PAGE, PAGE, 0x100, NULL);
	move("new length 0", base, PAGE, 0, MREMAP_MAYMOVE, NULL);
	move("fixed alone", base, PAGE, PAGE, MREMAP_FIXED, area);
	move("over itself", base, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, base + PAGE);
	move("what is not mapped", (char *)PAGE, PAGE, PAGE, MREMAP_MAYMOVE, NULL);
	check("still", base + 3 * PAGE, 3 * PAGE);

	close(fd);
	base[0] = 'x';
	printf("after close: msync %d\n", msync(base, 8 * PAGE, MS_SYNC));
	unlink(argv[1]);
	base[0] = 'y';
	printf("after unlink: msync %d\n", msync(base, 8 * PAGE, MS_SYNC));
	unmap("the rest", area, 8 * LENGTH);
	printf("failures %d\n", failures);
	return failures != 0;
}
