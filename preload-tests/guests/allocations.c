/*
 * usage: allocations FILE SECONDS
 * Eight threads allocate and free while each maps, syncs and unmaps now and then,
 * and the main thread forks: allocators call mmap and munmap with their locks held.
 */
#include "guest.h"
#include <pthread.h>

enum { LENGTH = 16 * PAGE, THREADS = 8, BLOCKS = 256 };

static int fd;
static double end;
static volatile int failures;

static void load(unsigned seed, double until)
{
	char *blocks[BLOCKS] = { NULL };
	size_t sizes[BLOCKS] = { 0 };

	for (unsigned i = 0; seconds_now() < until; i++) {
		unsigned slot = rand_r(&seed) % BLOCKS;
		size_t size = rand_r(&seed) % 64 == 0 ? 4 << 20 : 1 + rand_r(&seed) % 20000;

		if (blocks[slot] != NULL && blocks[slot][sizes[slot] - 1] != (char)slot)
			__atomic_add_fetch(&failures, 1, __ATOMIC_SEQ_CST);
		if (i % 3 == 0) {
			blocks[slot] = realloc(blocks[slot], size);
		} else {
			free(blocks[slot]);
			blocks[slot] = malloc(size);
		}
		sizes[slot] = size;
		blocks[slot][size - 1] = slot;
		if (i % 512 == 0 && store_and_sync(fd, LENGTH, i) != 0)
			__atomic_add_fetch(&failures, 1, __ATOMIC_SEQ_CST);
	}
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
}

static void *in_thread(void *seed)
{
	load((uintptr_t)seed, end);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	int status;

	if (argc != 3)
		return EXIT_USAGE;
	fd = open_sized(argv[1], LENGTH);
	end = seconds_now() + atof(argv[2]);
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, in_thread, (void *)(i + 1));
	while (seconds_now() < end) {
		pid_t child = fork();

		if (child == 0) {
			alarm(30);
			load(99, seconds_now() + 0.02);
			_exit(0);
		}
		if (child > 0 && waitpid(child, &status, 0) == child && status != 0)
			failures++;
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("failures %d\n", failures);
	return failures != 0;
}
