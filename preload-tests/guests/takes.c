/*
 * usage: takes FILE CALL [locked]
 * In a process that has had a second thread: maps four pages, locked in memory or not, stores to the first, has CALL
 * take others away, stores to the first again, and prints what msync says.
 */
#include "guest.h"
#include <pthread.h>

enum { PAGES = 4 };

static void *nothing(void *argument)
{
	return argument;
}

static int take(const char *path, int fd, char *base, const char *call)
{
	static char page[PAGE] __attribute__((aligned(PAGE)));
	int other;

	if (strcmp(call, "remove") == 0)
		return madvise(base + PAGE, (PAGES - 1) * PAGE, MADV_REMOVE);
	if (strcmp(call, "zero") == 0)
		return fallocate(fd, FALLOC_FL_ZERO_RANGE, PAGE, PAGES * PAGE);
	if (strcmp(call, "write") == 0)
		return pwrite(fd, page, PAGE / 2, 0) != PAGE / 2;
	if (strcmp(call, "shorter") == 0)
		return ftruncate(fd, 2 * PAGE);
	other = open(path, O_RDWR | (strcmp(call, "direct") == 0 ? O_DIRECT : 0));
	if (other < 0)
		setup_failed("open");
	if (strcmp(call, "direct") == 0)
		return pwrite(other, page, PAGE, (PAGES - 1) * PAGE) != PAGE;
	if (strcmp(call, "longer") == 0)
		return ftruncate(fd, 8 * PAGE);
	if (strcmp(call, "map") == 0)
		return map_shared(fd, PAGES * PAGE) == NULL;
	return strcmp(call, "open") != 0;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	char *base;
	int fd;

	if (argc < 3)
		return EXIT_USAGE;
	if (pthread_create(&thread, NULL, nothing, NULL) != 0)
		setup_failed("pthread_create");
	pthread_join(thread, NULL);
	fd = open_filled(argv[1], PAGES);
	base = map_shared(fd, PAGES * PAGE);
	if (argc > 3 && mlock(base, PAGES * PAGE) != 0)
		setup_failed("mlock");
	base[0]++;
	if (take(argv[1], fd, base, argv[2]) != 0)
		setup_failed("%s", argv[2]);
	base[1]++;
	printf("msync %s\n", msync(base, PAGES * PAGE, MS_SYNC) ? errname(errno) : "0");
	return 0;
}
