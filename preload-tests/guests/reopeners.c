/*
 * usage: reopeners FILE THREADS ROUNDS HOW
 * Threads that open the file, store something new to pages of their own and sync, again and again: through a mapping of
 * their own, made anew each time (`own`, or `slowly`, with pauses between the stores), or through one of all (`shared`).
 * Then one thread is left, and syncs what nobody changes any more. Prints how many msyncs have failed by then, and how
 * many after the first since; on the way two in a row of the same thread count as well (`in a row`).
 */
#include "guest.h"
#include <pthread.h>
#include <stdatomic.h>

enum { EACH = 4, MOST = 16, QUIET = 20 };

static const char *path;
static int threads, rounds, own, slowly;
static char *all;
static atomic_int syncs, failed, in_a_row;

static void *run(void *argument)
{
	long me = (long)argument;
	size_t length = (size_t)threads * EACH * PAGE;
	unsigned pause = me;
	int before = 0;

	for (int i = 0; i < rounds; i++) {
		int fd = open(path, O_RDWR), now;
		char *base = own ? map_shared(fd, length) : all;

		for (int n = 0; n < EACH; n++) {
			if (slowly)
				usleep(rand_r(&pause) % 1500);
			base[(me * EACH + n) * PAGE + i % PAGE]++;
		}
		now = msync(base, length, MS_SYNC) != 0;
		syncs++;
		failed += now;
		in_a_row += now && before;
		before = now;
		if (own)
			munmap(base, length);
		close(fd);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t ids[MOST];
	size_t length;
	int fd, later = 0;

	if (argc != 5 || (threads = atoi(argv[2])) > MOST)
		return EXIT_USAGE;
	path = argv[1];
	rounds = atoi(argv[3]);
	slowly = strcmp(argv[4], "slowly") == 0;
	own = slowly || strcmp(argv[4], "own") == 0;
	length = (size_t)threads * EACH * PAGE;
	fd = open_sized(path, length);
	all = map_shared(fd, length);
	for (long i = 0; i < threads; i++)
		pthread_create(&ids[i], NULL, run, (void *)i);
	for (int i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	msync(all, length, MS_SYNC);
	for (int i = 0; i < QUIET; i++)
		later += msync(all, length, MS_SYNC) != 0;
	printf("%d of %d failed, %d in a row; then %d of %d\n", failed, syncs, in_a_row, later, QUIET);
	return 0;
}
