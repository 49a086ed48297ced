/*
 * usage: moved FILE several|refused|stays|crowd|resized
 * mremap of several mappings at once (Linux 6.17), and with MREMAP_DONTUNMAP: what is mapped where, and what of it
 * the file holds after msync.
 */
#include "guest.h"
#include <pthread.h>
#include <stdbool.h>
#include <sys/syscall.h>

enum { PAGES = 16, LENGTH = PAGES * PAGE, OTHER = 8 };

static int fd, other;
static char *area;

static char *place(int page)
{
	return area + page * PAGE;
}

static char *map_at(int page, int pages, int from, int offset)
{
	char *base = mmap(place(page), pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, from, offset * PAGE);

	if (base == MAP_FAILED)
		setup_failed("mmap");
	return base;
}

/* Whether it moved. */
static bool move(const char *what, int from, int pages, int to, int flags)
{
	char *base;

	errno = 0;
	base = mremap(place(from), pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | flags, place(to));
	printf("%s: %s %s\n", what, base == MAP_FAILED ? "failed" : "moved", errname(errno));
	return base != MAP_FAILED;
}

/* Syncs what lies at `page`, and looks whether the file holds `byte` there. */
static void holds(const char *what, int page, int pages, int file, int offset, char byte)
{
	char back = 0;
	int result = msync(place(page), pages * PAGE, MS_SYNC);

	if (pread(file, &back, 1, offset * PAGE) != 1)
		setup_failed("pread");
	printf("  %s: msync %d, %s\n", what, result, back == byte ? "there" : "missing");
}

/* Two files, a hole of other memory, and a part that cannot be written any more, in one call. What was stored before
 * is owed still. */
static void several(void)
{
	map_at(0, 4, fd, 0);
	map_at(4, 4, other, 4);
	map_at(8, 4, fd, 8);
	mprotect(place(10), PAGE, PROT_READ);
	*place(1) = 'a';
	*place(5) = 'b';
	*place(9) = 'c';
	if (!move("several", 0, 12, 32, 0))
		return;
	holds("the first", 32, 4, fd, 1, 'a');
	holds("the second", 36, 4, other, 5, 'b');
	holds("the third", 40, 4, fd, 9, 'c');
	*place(33) = 'd';
	*place(37) = 'e';
	*place(43) = 'f';
	holds("the first again", 32, 1, fd, 1, 'd');
	holds("the second again", 36, 4, other, 5, 'e');
	holds("the third again", 43, 1, fd, 11, 'f');
	/* The middle of the first to the middle of the last. */
	*place(34) = 'g';
	*place(41) = 'h';
	move("parts", 34, 8, 16, 0);
	holds("the middle of the first", 16, 2, fd, 2, 'g');
	holds("of the last", 22, 2, fd, 9, 'h');
	*place(33) = 'i';
	holds("what stayed of the first", 33, 1, fd, 1, 'i');
	*place(43) = 'j';
	holds("what stayed of the last", 43, 1, fd, 11, 'j');
}

/* What the kernel does not move stays as it was. */
static void refused(void)
{
	map_at(0, 4, fd, 0);
	map_at(4, 4, other, 4);
	*place(1) = 'a';
	*place(5) = 'b';
	errno = 0;
	if (mremap(place(0), 8 * PAGE, 12 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place(32)) == MAP_FAILED)
		printf("to a larger place: %s\n", errname(errno));
	holds("the first", 0, 4, fd, 1, 'a');
	holds("the second", 4, 4, other, 5, 'b');
	if (mremap(place(0) + 1, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place(32)) == MAP_FAILED)
		printf("misaligned: %s\n", errname(errno));
	*place(1) = 'c';
	holds("the first again", 0, 4, fd, 1, 'c');
	munmap(place(2), PAGE);
	*place(0) = 'd';
	*place(6) = 'e';
	move("with a gap", 0, 8, 32, 0);
	/* Where they are now, the kernel decides: they are found wherever that is. */
	for (int at = 0; at <= 32; at += 32) {
		unsigned char state;

		if (mincore(place(at), PAGE, &state) == 0 && *place(at) == 'd') {
			*place(at) = 'f';
			holds("the first once more", at, 2, fd, 0, 'f');
		}
		if (mincore(place(at + 6), PAGE, &state) == 0 && *place(at + 6) == 'e') {
			*place(at + 6) = 'g';
			holds("the second once more", at + 4, 4, other, 6, 'g');
		}
	}
}

/* Another program opens the file. */
static void opened(const char *path)
{
	char *const arguments[] = { "head", "-c1", (char *)path, NULL };
	int status;
	pid_t child = fork();

	if (child == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 1);
		syscall(SYS_execve, "/usr/bin/head", arguments, arguments + 3);
		_exit(1);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		setup_failed("head");
}

/* Nothing is stored after the first msync. */
static void stays(const char *path, int flags)
{
	char *base;

	map_at(0, 8, fd, 0);
	memset(place(0), 's', 8 * PAGE);
	holds("stored", 0, 8, fd, 3, 's');
	base = mremap(place(0), 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP | flags, place(32));
	printf("left behind: %s\n", base == MAP_FAILED ? errname(errno) : "moved");
	opened(path);
	holds("where it was", 0, 8, fd, 3, 's');
	printf("  where it is: msync %d\n", msync(base, 8 * PAGE, MS_SYNC));
	*place(2) = 't';
	holds("stored where it was", 0, 8, fd, 2, 't');
	base[3 * PAGE] = 'u';
	holds("stored where it is", 0, 8, fd, 3, 'u');
}

/* A mapping that was made shorter, and longer where it is, is one mapping still: the kernel moves it as a whole. */
static void resized(void)
{
	map_at(0, 8, fd, 0);
	*place(1) = 'a';
	if (mremap(place(0), 8 * PAGE, 4 * PAGE, 0) != place(0) || mremap(place(0), 4 * PAGE, 8 * PAGE, 0) != place(0))
		setup_failed("mremap");
	*place(6) = 'b';
	holds("stored before", 0, 4, fd, 1, 'a');
	holds("stored to the new part", 4, 4, fd, 6, 'b');
	*place(2) = 'c';
	*place(7) = 'd';
	errno = 0;
	if (mremap(place(0), 8 * PAGE, 12 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place(32)) == MAP_FAILED)
		printf("to a larger place: %s\n", errname(errno));
	*place(42) = 'e';
	holds("moved", 32, 12, fd, 2, 'c');
	holds("moved with it", 32, 12, fd, 7, 'd');
	holds("where it has grown", 40, 4, fd, 10, 'e');
	*place(39) = 'f';
	holds("after that", 32, 12, fd, 7, 'f');
}

/* Threads store to the mapping that is left behind, all the time. */
enum { THREADS = 3, ROUNDS = 40 };

static volatile int stop;
static volatile char stamps[THREADS];

static void *storing(void *number)
{
	intptr_t n = (intptr_t)number;

	while (!stop) {
		*place(n) = ++stamps[n];
		for (volatile int i = 0; i < 200; i++)
			;
	}
	return NULL;
}

static void crowd(void)
{
	pthread_t threads[THREADS];
	int missing = 0, failed = 0;

	map_at(0, 8, fd, 0);
	for (int round = 0; round < ROUNDS; round++) {
		stop = 0;
		for (intptr_t n = 0; n < THREADS; n++)
			pthread_create(&threads[n], NULL, storing, (void *)n);
		usleep(200);
		if (mremap(place(0), 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, place(32)) == MAP_FAILED)
			setup_failed("mremap");
		stop = 1;
		for (int n = 0; n < THREADS; n++)
			pthread_join(threads[n], NULL);
		failed += msync(place(round % 2 * 32), 8 * PAGE, MS_SYNC) != 0;
		for (int n = 0; n < THREADS; n++) {
			char back = 0;

			missing += pread(fd, &back, 1, n * PAGE) != 1 || back != stamps[n];
		}
	}
	printf("failed %d\n", failed);
	fprintf(stderr, "missing %d\n", missing);
}

int main(int argc, char **argv)
{
	char path[4096];

	if (argc != 3)
		return EXIT_USAGE;
	snprintf(path, sizeof(path), "%s.other", argv[1]);
	fd = open_sized(argv[1], LENGTH);
	other = open_sized(path, LENGTH);
	area = mmap(NULL, 64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (strcmp(argv[2], "several") == 0)
		several();
	else if (strcmp(argv[2], "refused") == 0)
		refused();
	else if (strcmp(argv[2], "stays") == 0)
		stays(argv[1], MREMAP_FIXED);
	else if (strcmp(argv[2], "crowd") == 0)
		crowd();
	else if (strcmp(argv[2], "resized") == 0)
		resized();
	else
		return EXIT_USAGE;
	return 0;
}
