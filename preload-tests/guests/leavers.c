/*
 * usage: leavers FILE ROUNDS
 * Two mappings of four pages. One thread stores to them through the one and unmaps it, while another unmaps the other; then
 * the file is mapped anew, and synced. Prints how many times msync returned 0 and a reader got old bytes.
 */
#include "guest.h"
#include <pthread.h>

enum { LENGTH = 4 * PAGE };

static pthread_barrier_t barrier;
static int fd, rounds;

static void *unmap(void *argument)
{
	(void)argument;
	for (int round = 0; round < rounds; round++) {
		char *base = map_shared(fd, LENGTH);

		pthread_barrier_wait(&barrier);
		munmap(base, LENGTH);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t other;
	int torn = 0;

	if (argc != 3)
		return EXIT_USAGE;
	fd = open_filled(argv[1], 4);
	rounds = atoi(argv[2]);
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&other, NULL, unmap, NULL);
	for (int round = 0; round < rounds; round++) {
		char *base = map_shared(fd, LENGTH), byte = 'a' + round % 26, held[LENGTH];

		for (int at = 0; at < LENGTH; at += PAGE)
			base[at] = byte;
		pthread_barrier_wait(&barrier);
		munmap(base, LENGTH);
		pthread_barrier_wait(&barrier);
		base = map_shared(fd, LENGTH);
		if (msync(base, LENGTH, MS_SYNC) == 0 && read_anew(argv[1], held, LENGTH, 0) == LENGTH)
			torn += held[0] != byte || held[PAGE] != byte || held[2 * PAGE] != byte || held[3 * PAGE] != byte;
		munmap(base, LENGTH);
	}
	pthread_join(other, NULL);
	printf("%d torn\n", torn);
	return 0;
}
