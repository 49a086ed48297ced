/*
 * usage: overtaken FILE HOW
 * Verified pages, which the program changes: `threads`: four of them store to a page each and msync it, many times.
 * Else two pages are stored to and synced, and the first is changed past the mapping, as HOW says (`nothing`: it is
 * not); then it prints `done` and stays until it is killed.
 */
#include "guest.h"
#include <pthread.h>
#include <sys/uio.h>

#define THREADS 4
#define ROUNDS 50

static char *base;

static void *store_and_sync_own(void *page)
{
	int round;

	for (round = 0; round < ROUNDS; round++) {
		memset(page, 'a' + round % 26, PAGE);
		if (msync(page, PAGE, MS_SYNC) != 0)
			setup_failed("msync");
	}
	return NULL;
}

static void with_threads(void)
{
	pthread_t threads[THREADS];
	int n;

	for (n = 0; n < THREADS; n++)
		if (pthread_create(&threads[n], NULL, store_and_sync_own, base + n * PAGE) != 0)
			setup_failed("pthread_create");
	for (n = 0; n < THREADS; n++)
		pthread_join(threads[n], NULL);
}

static void change(const char *how, const char *path, int fd)
{
	static char other[PAGE] __attribute__((aligned(PAGE)));
	off_t from = 2 * PAGE, to = 0;
	struct iovec part = { other, PAGE };
	int direct = open(path, O_RDWR | O_DIRECT);
	int is_done = direct >= 0;

	memset(other, 'p', sizeof(other));
	if (strcmp(how, "direct") == 0)
		is_done = pwrite(direct, other, PAGE, 0) == PAGE;
	else if (strcmp(how, "pwrite") == 0)
		is_done = pwrite(fd, other, PAGE, 0) == PAGE;
	else if (strcmp(how, "write") == 0)
		is_done = write(fd, other, PAGE) == PAGE;
	else if (strcmp(how, "writev") == 0)
		is_done = pwritev(fd, &part, 1, 0) == PAGE;
	else if (strcmp(how, "punch") == 0)
		is_done = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE) == 0;
	else if (strcmp(how, "remove") == 0)
		is_done = madvise(base, PAGE, MADV_REMOVE) == 0;
	else if (strcmp(how, "copy") == 0)
		is_done = copy_file_range(fd, &from, fd, &to, PAGE, 0) == PAGE;
	else if (strcmp(how, "truncate") == 0)
		is_done = ftruncate(fd, 0) == 0 && ftruncate(fd, THREADS * PAGE) == 0;
	else if (strcmp(how, "open") == 0)
		is_done = close(open(path, O_RDWR | O_TRUNC)) == 0;
	if (!is_done)
		setup_failed("%s", how);
}

int main(int argc, char **argv)
{
	int fd;

	if (argc != 3)
		return EXIT_USAGE;
	fd = open_sized(argv[1], THREADS * PAGE);
	base = map_shared(fd, THREADS * PAGE);
	if (strcmp(argv[2], "threads") == 0) {
		with_threads();
		return 0;
	}
	memset(base, 'n', 2 * PAGE);
	if (msync(base, THREADS * PAGE, MS_SYNC) != 0)
		setup_failed("msync");
	change(argv[2], argv[1], fd);
	puts("done");
	fflush(stdout);
	for (;;)
		pause();
}
