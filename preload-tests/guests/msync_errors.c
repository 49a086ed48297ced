/*
 * usage: msync_errors FILE
 * Every way to call msync wrongly, and the odd ones that are right. Prints a line
 * a call: its result, and errno after it (which was EXDEV before).
 */
#include "guest.h"

enum { PAGES = 8, LENGTH = PAGES * PAGE };

static int fd;

static void call(const char *what, void *address, size_t length, int flags)
{
	int result;

	errno = EXDEV;
	result = msync(address, length, flags);
	printf("%s: %d %s\n", what, result, errname(errno));
}

static char *mapped(int prot, int flags)
{
	char *base = mmap(NULL, LENGTH, prot, flags, flags & MAP_ANONYMOUS ? -1 : fd, 0);

	if (base == MAP_FAILED)
		setup_failed("mmap");
	return base;
}

int main(int argc, char **argv)
{
	char *base, *other;

	if (argc != 2)
		return EXIT_USAGE;
	fd = open_sized(argv[1], LENGTH);
	base = mapped(PROT_READ | PROT_WRITE, MAP_SHARED);
	memset(base, 'a', LENGTH);

	call("whole", base, LENGTH, MS_SYNC);
	call("clean", base, LENGTH, MS_SYNC);
	base[0] = 'b';
	call("one page", base, PAGE, MS_SYNC);
	call("part of a page", base, 1, MS_SYNC);
	call("misaligned", base + 1, PAGE, MS_SYNC);
	call("sync and async", base, LENGTH, MS_SYNC | MS_ASYNC);
	call("unknown bits", base, LENGTH, MS_SYNC | 0x100);
	call("negative flags", base, LENGTH, -1);
	call("no flags", base, LENGTH, 0);
	base[1] = 'c';
	call("async", base, LENGTH, MS_ASYNC);
	call("invalidate", base, LENGTH, MS_INVALIDATE);
	base[2] = 'd';
	call("sync and invalidate", base, LENGTH, MS_SYNC | MS_INVALIDATE);

	call("length 0", base, 0, MS_SYNC);
	call("length 0, misaligned", base + 1, 0, MS_SYNC);
	call("length 0, misaligned, both flags", base + 1, 0, MS_SYNC | MS_ASYNC);
	call("length that rounds to 0", base, SIZE_MAX, MS_SYNC);
	call("wrap around", base, SIZE_MAX - 2 * PAGE, MS_SYNC);
	call("address 0", NULL, LENGTH, MS_SYNC);
	call("address 0, length 0", NULL, 0, MS_SYNC);
	call("past user space", (void *)(UINTPTR_MAX & ~(uintptr_t)(PAGE - 1)), PAGE, MS_SYNC);

	if (mlock(base, PAGE) != 0)
		setup_failed("mlock");
	base[3] = 'e';
	call("locked", base, LENGTH, MS_SYNC);
	call("locked, invalidate", base, LENGTH, MS_SYNC | MS_INVALIDATE);
	call("locked, invalidate behind it", base + PAGE, LENGTH - PAGE, MS_SYNC | MS_INVALIDATE);
	munlock(base, PAGE);

	if (munmap(base + 3 * PAGE, PAGE) != 0)
		setup_failed("munmap");
	base[0] = base[7 * PAGE] = 'f';
	call("hole in the middle", base, LENGTH, MS_SYNC);
	call("hole in the middle, async", base, LENGTH, MS_ASYNC);
	call("hole at the start", base + 3 * PAGE, LENGTH - 3 * PAGE, MS_SYNC);
	call("hole at the end", base, 4 * PAGE, MS_SYNC);
	call("up to the hole", base, 3 * PAGE, MS_SYNC);
	call("only the hole", base + 3 * PAGE, PAGE, MS_SYNC);
	call("hole, length 0", base + 3 * PAGE, 0, MS_SYNC);
	munmap(base, LENGTH);
	call("unmapped", base, LENGTH, MS_SYNC);

	other = mapped(PROT_READ | PROT_WRITE, MAP_PRIVATE);
	other[0] = 'g';
	call("private", other, LENGTH, MS_SYNC);
	printf("private store is %s\n", other[0] == 'g' ? "there" : "lost");
	other = mapped(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	other[0] = 'h';
	call("anonymous", other, LENGTH, MS_SYNC);
	printf("anonymous store is %s\n", other[0] == 'h' ? "there" : "lost");
	other = mapped(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	other[0] = 'i';
	call("shared anonymous", other, LENGTH, MS_SYNC);
	printf("shared anonymous store is %s\n", other[0] == 'i' ? "there" : "lost");

	call("read-only", mapped(PROT_READ, MAP_SHARED), LENGTH, MS_SYNC);
	call("no access", mapped(PROT_NONE, MAP_SHARED), LENGTH, MS_SYNC);
	base = mapped(PROT_READ | PROT_WRITE, MAP_SHARED);
	base[0] = 'j';
	if (mprotect(base, LENGTH, PROT_NONE) != 0)
		setup_failed("mprotect");
	call("no access any more", base, LENGTH, MS_SYNC);
	base = mapped(PROT_READ | PROT_WRITE, MAP_SHARED);
	base[0] = 'k';
	if (ftruncate(fd, PAGE) != 0)
		setup_failed("ftruncate");
	call("past end of file", base, LENGTH, MS_SYNC);
	close(fd);
	base[1] = 'l';
	call("closed descriptor", base, LENGTH, MS_SYNC);
	unlink(argv[1]);
	base[2] = 'm';
	call("unlinked file", base, LENGTH, MS_SYNC);
	return 0;
}
