/*
 * Locks a mapping in memory while another thread syncs the same file for the first time.
 *
 * usage: lockers FILE
 */
#include "guest.h"
#include <pthread.h>

enum { PAGES = 10, LENGTH = 16 * PAGE, ROUNDS = 40 };

static pthread_barrier_t barrier;
static char name[4096];

static void *syncs(void *unused)
{
	int fd = open(name, O_RDWR);
	char *base;

	pthread_barrier_wait(&barrier);
	base = map_shared(fd, LENGTH);
	if (msync(base, LENGTH, MS_SYNC) != 0)
		puts("msync failed");
	munmap(base, LENGTH);
	close(fd);
	return unused;
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return EXIT_USAGE;
	pthread_barrier_init(&barrier, NULL, 2);
	for (int i = 0; i < ROUNDS; i++) {
		pthread_t thread;
		char *base;
		int fd;

		snprintf(name, sizeof(name), "%s.%d", argv[1], i);
		fd = open_filled(name, PAGES);
		pthread_create(&thread, NULL, syncs, NULL);
		pthread_barrier_wait(&barrier);
		base = map_shared(fd, LENGTH);
		mlock(base + PAGE, LENGTH - PAGE);
		memset(base + 4 * PAGE, 'n', PAGE);
		pthread_join(thread, NULL);
		munmap(base, LENGTH);
		close(fd);
	}
	puts("all returned");
	return 0;
}
