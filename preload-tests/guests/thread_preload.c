/*
 * An LD_PRELOAD library that does nothing but have a thread, which shares everything with the program: what
 * a helper that is a thread does to programs that count.
 */
#include "guest.h"
#include <pthread.h>

static void *waits(void *unused)
{
	for (;;)
		pause();
	return unused;
}

__attribute__((constructor)) static void start(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, waits, NULL) != 0)
		abort();
}
