/*
 * usage: cancel FILE deferred|async
 * Threads cancelled while blocked in read and readv and, deferred, in a loop of pread
 * or msync on a tracked file: cleanup handlers run in order, the thread says cancelled,
 * and everything works afterwards.
 */
#include "guest.h"
#include <pthread.h>
#include <sys/uio.h>

enum { LENGTH = 64 * PAGE };

static int fd, pipe_fds[2], type;
static char *base;
static pthread_barrier_t started;
static const char *volatile order[8];
static volatile int cleaned;

static void cleanup(void *name)
{
	order[cleaned++] = name;
}

static void begin(void)
{
	int old;

	pthread_setcanceltype(type, &old);
	pthread_barrier_wait(&started);
}

static void *in_read(void *unused)
{
	char buffer[16];

	pthread_cleanup_push(cleanup, "outer");
	pthread_cleanup_push(cleanup, "inner");
	begin();
	if (read(pipe_fds[0], buffer, sizeof(buffer)) < 0)
		perror("read");
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return unused;
}

static void *in_readv(void *unused)
{
	char buffer[16];
	struct iovec part = { buffer, sizeof(buffer) };

	pthread_cleanup_push(cleanup, "outer");
	pthread_cleanup_push(cleanup, "inner");
	begin();
	if (readv(pipe_fds[0], &part, 1) < 0)
		perror("readv");
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return unused;
}

static void *in_pread(void *unused)
{
	char buffer[PAGE];

	pthread_cleanup_push(cleanup, "outer");
	pthread_cleanup_push(cleanup, "inner");
	begin();
	while (pread(fd, buffer, sizeof(buffer), 0) == sizeof(buffer))
		;
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return unused;
}

static void *in_msync(void *unused)
{
	pthread_cleanup_push(cleanup, "outer");
	pthread_cleanup_push(cleanup, "inner");
	begin();
	do
		base[PAGE]++;
	while (msync(base, LENGTH, MS_SYNC) == 0);
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return unused;
}

/* Pending before the call: a cancellation point acts on it at once. */
static void *pending_at_msync(void *unused)
{
	int old;

	pthread_cleanup_push(cleanup, "outer");
	pthread_cleanup_push(cleanup, "inner");
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	begin();
	usleep(20000);
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &old);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
	msync(base, LENGTH, MS_SYNC);
	printf("msync is no cancellation point\n");
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return unused;
}

static void cancelled(const char *what, void *(*body)(void *), int delay_us)
{
	pthread_t thread;
	void *result;

	cleaned = 0;
	if (pthread_create(&thread, NULL, body, NULL) != 0)
		setup_failed("pthread_create");
	pthread_barrier_wait(&started);
	usleep(delay_us);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	printf("%s: %s, cleaned by %s, %s\n", what,
	       result == PTHREAD_CANCELED ? "cancelled" : "returned",
	       cleaned > 0 ? order[0] : "none", cleaned > 1 ? order[1] : "none");
}

int main(int argc, char **argv)
{
	char byte;

	if (argc != 3)
		return EXIT_USAGE;
	type = strcmp(argv[2], "async") == 0 ? PTHREAD_CANCEL_ASYNCHRONOUS : PTHREAD_CANCEL_DEFERRED;
	fd = open_sized(argv[1], LENGTH);
	base = map_shared(fd, LENGTH);
	base[0] = 'x';
	printf("msync %d\n", msync(base, LENGTH, MS_SYNC));
	if (pipe(pipe_fds) != 0)
		setup_failed("pipe");
	pthread_barrier_init(&started, NULL, 2);

	cancelled("read", in_read, 10000);
	cancelled("readv", in_readv, 10000);
	/* At many points of the call. POSIX defines asynchronous cancellation of a thread
	 * that computes, but not of one inside a function that does more than block. */
	if (type == PTHREAD_CANCEL_DEFERRED) {
		for (int i = 0; i < 50; i++)
			cancelled("pread", in_pread, i * 20);
		for (int i = 0; i < 50; i++)
			cancelled("msync", in_msync, i * 100);
	}
	cancelled("pending at msync", pending_at_msync, 0);

	base[0] = 'y';
	printf("msync %d\n", msync(base, LENGTH, MS_SYNC));
	if (pread(fd, &byte, 1, 0) != 1 || byte != 'y')
		printf("pread fails afterwards\n");
	munmap(base, LENGTH);
	printf("another round: %d\n", store_and_sync(fd, LENGTH, 'z'));
	return 0;
}
