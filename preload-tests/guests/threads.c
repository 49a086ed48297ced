/*
 * N threads store to disjoint parts of a mapping with relaxed atomics; the main thread flushes, round
 * by round, and unmaps.
 *
 * usage: threads FILE N ROUNDS ordered|racing
 *
 * ordered: a thread tells that its part is done with a release, and the main thread learns it with an
 * acquire: the stores happen before the msync.
 * racing: the thread tells it relaxed. Then neither the compiler nor every processor keeps that behind
 * the stores. So that it does not depend on either, the thread does in this order what relaxed allows:
 * it tells first, and stores then, until the flush is over.
 *
 * Prints `msync ERRNO` if one fails, and `lost N`, how many words do not hold what was stored last when
 * they are read back after munmap.
 */
#include "guest.h"
#include <pthread.h>
#include <stdatomic.h>

enum { MAX_THREADS = 64, PART = 2 * PAGE, WORDS = PART / sizeof(uint64_t) };

static _Atomic uint64_t *words;
static _Atomic unsigned long begun, done, flushed;
static unsigned long rounds;
static int racing;

static void store(long part, uint64_t value)
{
	for (int i = 0; i < WORDS; i += 64)
		atomic_store_explicit(&words[part * WORDS + i], value, memory_order_relaxed);
}

static void *run(void *part)
{
	for (unsigned long round = 1; round <= rounds; round++) {
		while (atomic_load_explicit(&begun, memory_order_acquire) < round)
			sched_yield();
		if (racing)
			atomic_fetch_add_explicit(&done, 1, memory_order_relaxed);
		do
			store((long)part, round);
		while (racing && atomic_load_explicit(&flushed, memory_order_relaxed) < round);
		if (!racing)
			atomic_fetch_add_explicit(&done, 1, memory_order_release);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[MAX_THREADS];
	long count = argc == 5 ? atol(argv[2]) : 0, lost = 0;
	int fd;

	if (count < 1 || count > MAX_THREADS)
		return EXIT_USAGE;
	rounds = atol(argv[3]);
	racing = strcmp(argv[4], "racing") == 0;
	fd = open_sized(argv[1], count * PART);
	words = map_shared(fd, count * PART);
	for (long part = 0; part < count; part++)
		if (pthread_create(&threads[part], NULL, run, (void *)part) != 0)
			setup_failed("pthread_create");
	for (unsigned long round = 1; round <= rounds; round++) {
		atomic_store_explicit(&begun, round, memory_order_release);
		while (atomic_load_explicit(&done, memory_order_acquire) < round * count)
			sched_yield();
		if (msync((void *)words, count * PART, MS_SYNC) != 0)
			printf("msync %s\n", errname(errno));
		atomic_store_explicit(&flushed, round, memory_order_relaxed);
	}
	/* Even racing: a store to what is not mapped any more would be the end. */
	for (long part = 0; part < count; part++)
		pthread_join(threads[part], NULL);
	if (munmap((void *)words, count * PART) != 0)
		setup_failed("munmap");
	for (long i = 0; i < count * WORDS; i += 64) {
		uint64_t found;

		if (pread(fd, &found, sizeof(found), i * sizeof(found)) != sizeof(found))
			setup_failed("pread");
		lost += found != rounds;
	}
	printf("lost %ld\n", lost);
	return 0;
}
