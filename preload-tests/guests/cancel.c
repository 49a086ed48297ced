/*
 * usage: cancel FILE deferred|async [slow]
 * Threads cancelled while blocked in read and readv, and in a loop of calls on a
 * tracked file: cleanup handlers run in order, the thread says cancelled, and
 * everything works afterwards. `slow` is for a filesystem that takes its time to
 * answer: then threads are cancelled while they wait for it in pread and msync.
 */
#include "guest.h"
#include <pthread.h>
#include <stdatomic.h>
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

static atomic_int blocking;

/* About to block: what follows is one call. */
static void begin_to_block(void)
{
	int old;

	pthread_setcanceltype(type, &old);
	atomic_store(&blocking, gettid());
}

static void *blocked_in_read(void *unused)
{
	char byte;

	pthread_cleanup_push(cleanup, "outer");
	pthread_cleanup_push(cleanup, "inner");
	begin_to_block();
	if (read(pipe_fds[0], &byte, 1) < 0)
		perror("read");
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return unused;
}

static void *blocked_in_pread(void *unused)
{
	char byte;

	pthread_cleanup_push(cleanup, "outer");
	pthread_cleanup_push(cleanup, "inner");
	begin_to_block();
	if (pread(fd, &byte, 1, LENGTH / 2) != 1)
		perror("pread");
	pthread_testcancel();
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return unused;
}

static void *blocked_in_msync(void *unused)
{
	pthread_cleanup_push(cleanup, "outer");
	pthread_cleanup_push(cleanup, "inner");
	base[PAGE]++;
	begin_to_block();
	if (msync(base, LENGTH, MS_SYNC) != 0)
		perror("msync");
	pthread_testcancel();
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return unused;
}

/* Whether a thread waits for something: not running, nor ready to. Or it has ended. */
static int waits(int tid)
{
	char path[64], state = 'R';
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	if ((stat = fopen(path, "r")) == NULL)
		return 1;
	if (fscanf(stat, "%*d (%*[^)]) %c", &state) != 1)
		state = 'X';
	fclose(stat);
	return state != 'R';
}

static void cancelled_while_blocked(const char *what, void *(*body)(void *))
{
	pthread_t thread;
	void *result;
	int tid;

	cleaned = 0;
	atomic_store(&blocking, 0);
	/* From the filesystem, not from the page cache. */
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	if (pthread_create(&thread, NULL, body, NULL) != 0)
		setup_failed("pthread_create");
	do {
		usleep(1000);
		tid = atomic_load(&blocking);
	} while (tid == 0 || !waits(tid));
	pthread_cancel(thread);
	pthread_join(thread, &result);
	printf("blocked in %s: %s, cleaned by %s, %s\n", what,
	       result == PTHREAD_CANCELED ? "cancelled" : "returned",
	       cleaned > 0 ? order[0] : "none", cleaned > 1 ? order[1] : "none");
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

	if (argc != 3 && argc != 4)
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
	if (argc == 4) {
		cancelled_while_blocked("read", blocked_in_read);
		cancelled_while_blocked("pread", blocked_in_pread);
		cancelled_while_blocked("msync", blocked_in_msync);
		return 0;
	}
	/* At many points of the call. */
	for (int i = 0; i < 50; i++)
		cancelled("pread", in_pread, i * 20);
	for (int i = 0; i < 50; i++)
		cancelled("msync", in_msync, i * 100);
	cancelled("pending at msync", pending_at_msync, 0);

	base[0] = 'y';
	printf("msync %d\n", msync(base, LENGTH, MS_SYNC));
	if (pread(fd, &byte, 1, 0) != 1 || byte != 'y')
		printf("pread fails afterwards\n");
	munmap(base, LENGTH);
	printf("another round: %d\n", store_and_sync(fd, LENGTH, 'z'));
	return 0;
}
