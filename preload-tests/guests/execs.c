/*
 * usage: execs FILE ROUNDS
 * Threads store to pages of their own and sync, and in the middle of that the program executes itself, so many times.
 */
#include "guest.h"
#include <pthread.h>

enum { THREADS = 4, EACH = 16, LENGTH = THREADS * EACH * PAGE };

static char *base;

static void *run(void *argument)
{
	long me = (long)argument;

	for (int i = 0;; i++) {
		for (int n = 0; n < EACH; n++)
			base[(me * EACH + n) * PAGE + i % PAGE]++;
		msync(base, LENGTH, MS_SYNC);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int rounds, fd;
	char left[16];
	pthread_t id;

	if (argc != 3)
		return EXIT_USAGE;
	rounds = atoi(argv[2]);
	fd = open_sized(argv[1], LENGTH);
	base = map_shared(fd, LENGTH);
	for (long i = 0; i < THREADS; i++)
		pthread_create(&id, NULL, run, (void *)i);
	usleep(3000 + rounds * 37 % 5000);
	if (rounds == 0)
		_exit(0);
	snprintf(left, sizeof(left), "%d", rounds - 1);
	execl(argv[0], argv[0], argv[1], left, NULL);
	setup_failed("exec");
}
