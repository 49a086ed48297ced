/*
 * usage: interrupted FILE
 * Reads that block and are interrupted by signals, with and without SA_RESTART,
 * while a tracked file is mapped.
 */
#include "guest.h"
#include <sys/time.h>
#include <sys/uio.h>

enum { LENGTH = 16 * PAGE };

static int pipe_fds[2];
static volatile sig_atomic_t signals;

static void on_alarm(int signal)
{
	(void)signal;
	/* The third one lets a restarted read end. */
	if (++signals == 3 && write(pipe_fds[1], "late", 4) != 4)
		_exit(3);
}

static void blocked(const char *what, int flags, int vectored)
{
	struct itimerval every = { { 0, 20000 }, { 0, 20000 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = flags };
	char buffer[16];
	struct iovec part = { buffer, sizeof(buffer) };
	ssize_t n;

	sigaction(SIGALRM, &action, NULL);
	signals = 0;
	errno = EXDEV;
	setitimer(ITIMER_REAL, &every, NULL);
	n = vectored ? readv(pipe_fds[0], &part, 1) : read(pipe_fds[0], buffer, sizeof(buffer));
	printf("%s: %zd %s after %s\n", what, n, errname(errno), signals >= 3 ? "three" : "the first");
	setitimer(ITIMER_REAL, &never, NULL);
}

int main(int argc, char **argv)
{
	int fd;
	char *base;

	if (argc != 2)
		return EXIT_USAGE;
	fd = open_sized(argv[1], LENGTH);
	base = map_shared(fd, LENGTH);
	base[0] = 'x';
	printf("msync %d\n", msync(base, LENGTH, MS_SYNC));
	if (pipe(pipe_fds) != 0)
		setup_failed("pipe");
	blocked("read", 0, 0);
	blocked("read, SA_RESTART", SA_RESTART, 0);
	blocked("readv", 0, 1);
	blocked("readv, SA_RESTART", SA_RESTART, 1);
	base[0] = 'y';
	printf("msync %d\n", msync(base, LENGTH, MS_SYNC));
	return 0;
}
