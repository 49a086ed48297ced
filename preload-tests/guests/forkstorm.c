/*
 * usage: forkstorm FILE THREADS CHILDREN
 * THREADS threads map, store, sync and read while the main thread forks CHILDREN
 * children, of which number N does the same in page N of the file and exits.
 * Prints what is wrong at the end.
 */
#include "guest.h"
#include <pthread.h>

enum { SPARE = 64 };

static int fd, children;
static const char *path;
static size_t length;
static volatile int stop, failures;

static int round_in_page(int page, char byte)
{
	char *base = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), back;
	int bad;

	if (base == MAP_FAILED)
		return 1;
	base[(size_t)page * PAGE] = byte;
	bad = msync(base, length, MS_SYNC) != 0;
	bad |= pread(fd, &back, 1, (off_t)page * PAGE) != 1 || back != byte;
	return bad | (munmap(base, length) != 0);
}

static void *in_thread(void *number)
{
	for (char byte = 0; !stop; byte++)
		if (round_in_page(children + (int)(intptr_t)number, byte) != 0)
			__atomic_add_fetch(&failures, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[SPARE];
	int count, status, failed = 0, missing = 0, reader;

	if (argc != 4 || (count = atoi(argv[2])) > SPARE)
		return EXIT_USAGE;
	path = argv[1];
	children = atoi(argv[3]);
	length = (size_t)(children + SPARE) * PAGE;
	fd = open_sized(path, length);
	for (int i = 0; i < count; i++)
		pthread_create(&threads[i], NULL, in_thread, (void *)(intptr_t)i);

	for (int i = 0; i < children; i++) {
		pid_t child = fork();

		if (child < 0)
			setup_failed("fork");
		if (child == 0) {
			alarm(60); /* a child that hangs is killed, and seen */
			_exit(round_in_page(i, 1 + i % 100));
		}
		/* A few at a time. */
		if (i >= 4 && wait(&status) > 0)
			failed += status != 0;
	}
	while (wait(&status) > 0)
		failed += status != 0;
	stop = 1;
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);

	reader = open(path, O_RDONLY);
	for (int i = 0; i < children; i++) {
		char byte;

		if (pread(reader, &byte, 1, (off_t)i * PAGE) != 1 || byte != 1 + i % 100)
			missing++;
	}
	printf("failed children %d, failed rounds %d, pages missing %d\n", failed, failures, missing);
	return failed || failures || missing;
}
