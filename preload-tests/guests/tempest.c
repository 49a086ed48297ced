/*
 * Threads that map, store, sync and unmap, then children that store through what they have inherited and sync, while a timer
 * sends signals.
 *
 * usage: tempest FILE THREADS CHILDREN HERTZ restart|interrupt
 * Prints how many calls have failed, and the sum of the children's exit codes. With interrupt, the handler lets calls fail
 * with EINTR, and they are made again.
 */
#include "guest.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

enum { MOST = 512, ROUNDS = 6, EACH = 2 };

static int fd;
static atomic_long failed;

static void ignore(int signal)
{
	(void)signal;
}

static char *map(off_t page)
{
	char *base;

	do
		base = mmap(NULL, EACH * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, page * PAGE);
	while (base == MAP_FAILED && errno == EINTR);
	return base;
}

static int sync_all(char *base)
{
	int result;

	do
		result = msync(base, EACH * PAGE, MS_SYNC);
	while (result && errno == EINTR);
	return result;
}

static void *work(void *argument)
{
	long number = (long)argument;

	for (int round = 0; round < ROUNDS; round++) {
		char *base = map(EACH * number);

		if (base == MAP_FAILED) {
			failed++;
			continue;
		}
		base[0] = base[PAGE] = number + round;
		failed += sync_all(base) != 0;
		base[100] = round;
		failed += munmap(base, EACH * PAGE) != 0;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = ignore};
	pthread_t threads[MOST];
	int count, children, hertz, status, codes = 0;
	char *base;

	if (argc != 6 || atoi(argv[2]) > MOST) {
		fprintf(stderr, "usage: tempest FILE THREADS CHILDREN HERTZ restart|interrupt\n");
		return EXIT_USAGE;
	}
	count = atoi(argv[2]);
	children = atoi(argv[3]);
	hertz = atoi(argv[4]);
	fd = open_sized(argv[1], (count + 1) * EACH * PAGE);
	action.sa_flags = strcmp(argv[5], "restart") ? 0 : SA_RESTART;
	sigaction(SIGALRM, &action, NULL);
	if (hertz) {
		struct itimerval timer = {.it_interval.tv_usec = 1000000 / hertz, .it_value.tv_usec = 1000000 / hertz};

		setitimer(ITIMER_REAL, &timer, NULL);
	}
	for (long i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)i))
			setup_failed("pthread_create");
	for (long i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	base = map(0);
	if (base == MAP_FAILED)
		setup_failed("mmap");
	for (int i = 0; i < children; i++) {
		pid_t child;

		while ((child = fork()) < 0 && errno == EINTR)
			;
		if (child < 0)
			setup_failed("fork");
		if (child == 0) {
			base[i % (EACH * PAGE)] = i;
			_exit(sync_all(base) ? 9 : i % 7);
		}
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
		codes += WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
	}
	printf("failed %ld codes %d\n", (long)failed, codes);
	return failed != 0;
}
