/*
 * usage: dax calls FILE | both FILE ORDINARY | flags FILE DIRECTORY | once FILE...
 *
 * Stores to files that may lie on persistent memory, and what the calls on their mappings come to.
 *
 * calls  every kind of shared mapping (MAP_SHARED, MAP_SHARED_VALIDATE, MAP_SYNC), each with stores,
 *        msync in part, whole and with every flag, stores of the kernel's, truncation, mremap, fork...,
 *        all read back through another descriptor and an O_DIRECT one
 * both   FILE and ORDINARY mapped side by side: one msync for both, and each by itself
 * flags  FILE while it is mapped, and a file made in DIRECTORY, before and after the flag for DAX of
 *        their directory or their own has changed
 * once   maps, stores, msync, and nothing else, each FILE; and again with a write lease on it, so that
 *        nobody else can open it
 *
 * Prints what it sees; exits 1 where what was synced is not read back.
 */
#include "guest.h"
#include <linux/fs.h>
#include <linux/stat.h>
#include <sys/ioctl.h>

enum { PAGES = 16, LENGTH = PAGES * PAGE };

static const int rw = PROT_READ | PROT_WRITE;
static const struct { const char *name; int flags; } kinds[] = {
	{ "MAP_SHARED", MAP_SHARED },
	{ "MAP_SHARED_VALIDATE", MAP_SHARED_VALIDATE },
	{ "MAP_SYNC", MAP_SHARED_VALIDATE | MAP_SYNC },
};
static const char *path;
static int failures;

static int is_dax(int fd)
{
	struct statx about;

	if (statx(fd, "", AT_EMPTY_PATH, 0, &about) != 0)
		setup_failed("statx");
	return (about.stx_attributes & STATX_ATTR_DAX) != 0;
}

static int result(const char *what, int value)
{
	printf("  %s: %s\n", what, errname(value == 0 ? 0 : errno));
	return value;
}

/* What `length` bytes at `offset` of the file are, read with `flags`. */
static int is_read(const char *name, const char *expected, size_t length, off_t offset, int flags)
{
	static char buffer[2 * LENGTH] __attribute__((aligned(PAGE)));
	int fd = open(name, O_RDONLY | flags);
	int same;

	if (fd < 0)
		setup_failed("open %s", name);
	same = pread(fd, buffer, length, offset) == (ssize_t)length && memcmp(buffer, expected, length) == 0;
	close(fd);
	return same;
}

static void check_file(const char *name, const char *expected, size_t length, off_t offset)
{
	int same = is_read(name, expected, length, offset, 0);
	int direct = is_read(name, expected, length, offset, O_DIRECT);

	printf("    read %s, directly %s\n", same ? "back" : "WRONG", direct ? "back" : "WRONG");
	failures += !same + !direct;
}

/* msync of whole pages of a mapping of `path`, and what other descriptors see of them. */
static void sync_and_check(const char *what, char *base, size_t length, off_t offset, int flags)
{
	result(what, msync(base, length, flags));
	check_file(path, base, length, offset);
}

static void fill(char *base, size_t length)
{
	static unsigned char next;

	for (size_t at = 0; at < length; at += 512)
		memset(base + at, ++next, 512);
}

static void forked(char *base)
{
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	if (child < 0)
		setup_failed("fork");
	if (child == 0) {
		fill(base + 5 * PAGE, PAGE);
		sync_and_check("the child's msync", base + 5 * PAGE, PAGE, 5 * PAGE, MS_SYNC);
		fill(base + 6 * PAGE, PAGE);
		fflush(stdout);
		_exit(failures);
	}
	if (waitpid(child, &status, 0) != child)
		setup_failed("waitpid");
	failures += WEXITSTATUS(status);
	fill(base + 7 * PAGE, PAGE);
	sync_and_check("the parent's msync", base, LENGTH, 0, MS_SYNC);
}

static void kernels_stores(int fd, char *base)
{
	char page[PAGE];
	int source = open("/dev/zero", O_RDONLY);

	result("read into the mapping", read(source, base + PAGE, PAGE) != PAGE);
	close(source);
	sync_and_check("msync", base, LENGTH, 0, MS_SYNC);
	memset(page, 'w', sizeof(page));
	result("pwrite", pwrite(fd, page, PAGE, 2 * PAGE) != PAGE);
	printf("  the mapping has it: %d\n", memcmp(base + 2 * PAGE, page, PAGE) == 0);
	sync_and_check("msync", base, LENGTH, 0, MS_SYNC);
	fill(base + 4 * PAGE, PAGE);
	result("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * PAGE, 2 * PAGE));
	printf("  zeroes there: %d\n", base[3 * PAGE] == 0 && base[5 * PAGE - 1] == 0);
	fill(base + 4 * PAGE, PAGE);
	sync_and_check("msync", base, LENGTH, 0, MS_SYNC);
}

static void odd_calls(char *base)
{
	result("length 0", msync(base, 0, MS_SYNC));
	result("misaligned", msync(base + 1, PAGE, MS_SYNC));
	result("both flags", msync(base, PAGE, MS_SYNC | MS_ASYNC));
	result("unknown flag", msync(base, PAGE, 64));
	result("no flag", msync(base, PAGE, 0));
	result("mlock", mlock(base, PAGE));
	result("invalidate what is locked", msync(base, PAGE, MS_SYNC | MS_INVALIDATE));
	result("munlock", munlock(base, PAGE));
}

static void calls_on(int flags)
{
	char *base, *moved;
	int fd;

	unlink(path);
	fd = open_sized(path, LENGTH);
	printf("  DAX %d\n", is_dax(fd));
	/* Twice as long as the file. */
	base = mmap(NULL, 2 * LENGTH, rw, flags, fd, 0);
	result("mmap", base == MAP_FAILED);
	if (base == MAP_FAILED) {
		close(fd);
		return;
	}
	/* Into a hole: blocks are allocated. */
	fill(base, LENGTH);
	sync_and_check("msync of a page", base + PAGE, PAGE, PAGE, MS_SYNC);
	sync_and_check("of the file", base, LENGTH, 0, MS_SYNC);
	sync_and_check("again", base, LENGTH, 0, MS_SYNC);
	fill(base, 3 * PAGE);
	sync_and_check("MS_ASYNC", base, LENGTH, 0, MS_ASYNC);
	sync_and_check("MS_INVALIDATE", base, LENGTH, 0, MS_SYNC | MS_INVALIDATE);
	odd_calls(base);
	kernels_stores(fd, base);

	fill(base, PAGE);
	result("MADV_DONTNEED", madvise(base, LENGTH, MADV_DONTNEED));
	result("fadvise", posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	sync_and_check("msync", base, LENGTH, 0, MS_SYNC);
	fill(base, PAGE);
	result("mprotect", mprotect(base, LENGTH, PROT_READ));
	sync_and_check("msync of a read-only mapping", base, LENGTH, 0, MS_SYNC);
	result("mprotect", mprotect(base, LENGTH, rw));
	forked(base);

	result("ftruncate, longer", ftruncate(fd, 2 * LENGTH));
	fill(base + LENGTH, LENGTH);
	sync_and_check("msync", base, 2 * LENGTH, 0, MS_SYNC);
	result("ftruncate, shorter", ftruncate(fd, LENGTH));
	sync_and_check("msync", base, LENGTH, 0, MS_SYNC);
	result("msync of more", msync(base, 2 * LENGTH, MS_SYNC));
	moved = mremap(base, 2 * LENGTH, 4 * LENGTH, MREMAP_MAYMOVE);
	if (moved == MAP_FAILED)
		setup_failed("mremap");
	base = moved;
	fill(base, LENGTH);
	sync_and_check("msync after mremap", base, LENGTH, 0, MS_SYNC);

	munmap(base + 2 * PAGE, PAGE);
	fill(base, 2 * PAGE);
	fill(base + 3 * PAGE, PAGE);
	result("msync over what is not mapped", msync(base, LENGTH, MS_SYNC));
	check_file(path, base, 2 * PAGE, 0);
	check_file(path, base + 3 * PAGE, PAGE, 3 * PAGE);
	close(fd);
	fill(base, PAGE);
	sync_and_check("msync after close", base, PAGE, 0, MS_SYNC);
	unlink(path);
	fill(base, PAGE);
	result("after unlink", msync(base, PAGE, MS_SYNC));
	munmap(base, 4 * LENGTH);
}

static void calls(void)
{
	int fd;
	char *base;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		printf("%s\n", kinds[i].name);
		calls_on(kinds[i].flags);
	}
	printf("other mappings with MAP_SYNC\n");
	fd = open_sized(path, LENGTH);
	base = mmap(NULL, LENGTH, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);
	result("to read", base == MAP_FAILED);
	base = mmap(NULL, LENGTH, rw, MAP_SHARED_VALIDATE | MAP_SYNC | MAP_POPULATE, fd, 0);
	result("populated", base == MAP_FAILED);
	base = mmap(NULL, LENGTH, rw, MAP_SHARED | MAP_SYNC, fd, 0);
	result("MAP_SHARED", base == MAP_FAILED);
	base = mmap(NULL, LENGTH, rw, MAP_PRIVATE | MAP_SYNC, fd, 0);
	result("MAP_PRIVATE", base == MAP_FAILED);
	close(fd);
	fd = open(path, O_RDONLY);
	base = mmap(NULL, LENGTH, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);
	result("of a read-only descriptor", base == MAP_FAILED);
	close(fd);
}

static void both(const char *ordinary)
{
	int fds[2] = { open_sized(path, LENGTH), open_sized(ordinary, LENGTH) };
	char *base = mmap(NULL, 2 * LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *other = base + LENGTH;

	printf("DAX %d and %d\n", is_dax(fds[0]), is_dax(fds[1]));
	if (mmap(base, LENGTH, rw, MAP_SHARED | MAP_FIXED, fds[0], 0) != base ||
	    mmap(other, LENGTH, rw, MAP_SHARED | MAP_FIXED, fds[1], 0) != other)
		setup_failed("mmap");
	for (int round = 0; round < 3; round++) {
		fill(base, 2 * LENGTH);
		result("one msync for both", msync(base, 2 * LENGTH, MS_SYNC));
		check_file(path, base, LENGTH, 0);
		check_file(ordinary, other, LENGTH, 0);
	}
	fill(base, 2 * LENGTH);
	result("of both in part", msync(other - PAGE, 2 * PAGE, MS_SYNC));
	check_file(path, other - PAGE, PAGE, LENGTH - PAGE);
	check_file(ordinary, other, PAGE, 0);
	sync_and_check("of the first", base, LENGTH, 0, MS_SYNC);
	result("of the second", msync(other, LENGTH, MS_SYNC));
	check_file(ordinary, other, LENGTH, 0);
}

/* Changes the flag for DAX of a file or directory, as `xfs_io -c 'chattr +x'` does. */
static void flag(const char *name, int on)
{
	struct fsxattr about;
	int fd = open(name, O_RDONLY);

	if (fd < 0 || ioctl(fd, FS_IOC_FSGETXATTR, &about) != 0)
		setup_failed("FS_IOC_FSGETXATTR %s", name);
	about.fsx_xflags = (about.fsx_xflags & ~FS_XFLAG_DAX) | (on ? FS_XFLAG_DAX : 0);
	result(on ? "flag on" : "flag off", ioctl(fd, FS_IOC_FSSETXATTR, &about));
	close(fd);
}

static void flags(const char *directory)
{
	char name[4096];
	int fd = open_sized(path, LENGTH);
	char *base = map_shared(fd, LENGTH);

	for (int on = 1; on >= 0; on--) {
		printf("DAX %d\n", is_dax(fd));
		fill(base, LENGTH);
		sync_and_check("msync", base, LENGTH, 0, MS_SYNC);
		flag(path, on);
		printf("DAX %d\n", is_dax(fd));
		fill(base, LENGTH);
		sync_and_check("msync", base, LENGTH, 0, MS_SYNC);
	}
	munmap(base, LENGTH);
	close(fd);
	for (int on = 0; on <= 1; on++) {
		snprintf(name, sizeof(name), "%s/%s", directory, on ? "with" : "without");
		flag(directory, on);
		path = name;
		fd = open_sized(path, LENGTH);
		base = map_shared(fd, LENGTH);
		printf("new file: DAX %d\n", is_dax(fd));
		fill(base, LENGTH);
		sync_and_check("msync", base, LENGTH, 0, MS_SYNC);
		base = mmap(NULL, LENGTH, rw, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);
		result("MAP_SYNC", base == MAP_FAILED);
		close(fd);
	}
}

static void once(const char *name)
{
	int fd = open_sized(name, LENGTH);

	printf("DAX %d msync %d", is_dax(fd), store_and_sync(fd, LENGTH, 'o'));
	if (fcntl(fd, F_SETLEASE, F_WRLCK) != 0)
		setup_failed("F_SETLEASE");
	printf(" leased %d\n", store_and_sync(fd, LENGTH, 'l'));
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return EXIT_USAGE;
	path = argv[2];
	if (strcmp(argv[1], "calls") == 0)
		calls();
	else if (strcmp(argv[1], "both") == 0 && argc == 4)
		both(argv[3]);
	else if (strcmp(argv[1], "flags") == 0 && argc == 4)
		flags(argv[3]);
	else if (strcmp(argv[1], "once") == 0)
		for (int i = 2; i < argc; i++)
			once(argv[i]);
	else
		return EXIT_USAGE;
	return failures != 0;
}
