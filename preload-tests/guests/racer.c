/*
 * A store that races with msync.
 *
 * usage: racer FILE quiet|racing
 * Stores in page 0 of 16 and msyncs. `racing`: another thread stores in page 5 all the time.
 * Then that thread ends, and the last msync has nothing to race with. Prints `msync ERRNO`
 * for both, and `stored N`, the number that page 5 then holds in its first 8 bytes.
 */
#include "guest.h"
#include <pthread.h>
#include <stdatomic.h>

enum { PAGES = 16, RACED = 5 };

static _Atomic int stop;
static _Atomic long stores;
static char *base;

static void *race(void *unused)
{
	while (!stop)
		atomic_store((_Atomic uint64_t *)(base + RACED * PAGE), ++stores);
	return unused;
}

int main(int argc, char **argv)
{
	int racing = argc == 3 && strcmp(argv[2], "racing") == 0;
	pthread_t thread;

	if (argc != 3)
		return EXIT_USAGE;
	base = map_shared(open_sized(argv[1], PAGES * PAGE), PAGES * PAGE);
	memset(base, 'a', PAGES * PAGE);
	if (racing) {
		if (pthread_create(&thread, NULL, race, NULL) != 0)
			setup_failed("pthread_create");
		while (stores == 0)
			sched_yield();
	}
	base[0] = 'b';
	sync_and_tell(base, PAGES * PAGE);
	stop = 1;
	if (racing)
		pthread_join(thread, NULL);
	sync_and_tell(base, PAGES * PAGE);
	printf("stored %ld\n", (long)stores);
	return 0;
}
