/* A thread goes on storing while msync runs. Right: it stops first. */
#include "../guest.h"
#include <pthread.h>
#include <stdatomic.h>

static atomic_int stop;
static atomic_long *counter;

static void *count(void *unused)
{
	while (!stop)
		atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	counter = map_shared(open_allocated(argv[1], PAGE), PAGE);
	pthread_create(&thread, NULL, count, NULL);
	while (*counter == 0)
		sched_yield();
	if (argc > 2) {
		stop = 1;
		pthread_join(thread, NULL);
	}
	if (msync(counter, PAGE, MS_SYNC) != 0)
		return 1;
	if (argc == 2) {
		stop = 1;
		pthread_join(thread, NULL);
		return msync(counter, PAGE, MS_SYNC) != 0;
	}
	return 0;
}
