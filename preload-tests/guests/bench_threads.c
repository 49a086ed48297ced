/*
 * bench_threads FILE THREADS HOW: a line "N" lets every thread store to its own page of one
 * mapping and sync that page HOW, N times; all at once.
 */
#include "bench.h"
#include <pthread.h>

static int fd;
static size_t size;
static char *base;
static enum how how;
static int threads;
static long times;
static pthread_barrier_t begin, end;

static void *work(void *argument)
{
	char *own = base + (long)argument * PAGE;

	for (;;) {
		pthread_barrier_wait(&begin);
		for (long n = 0; n < times; n++) {
			(*(volatile char *)own)++;
			sync_range(how, fd, own, PAGE, base, size);
		}
		pthread_barrier_wait(&end);
	}
	return NULL;
}

static void round_of(const char *line)
{
	times = strtol(line, NULL, 10);
	long started = now_ns();

	pthread_barrier_wait(&begin);
	pthread_barrier_wait(&end);
	printf("all %ld\n", now_ns() - started);
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc != 4)
		return EXIT_USAGE;
	threads = atoi(argv[2]);
	how = parse_how(argv[3]);
	size = (size_t)threads * PAGE;
	fd = open_sized(argv[1], size);
	base = map_shared(fd, size);
	memset(base, 'x', size);
	pthread_barrier_init(&begin, NULL, threads + 1);
	pthread_barrier_init(&end, NULL, threads + 1);
	for (long n = 0; n < threads; n++)
		if ((errno = pthread_create(&thread, NULL, work, (void *)n)) != 0)
			setup_failed("pthread_create");
	serve(round_of);
	return 0;
}
