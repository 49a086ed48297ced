/*
 * usage: toldonce FILE HOW
 * Stores to a page through a mapping, has a call of another kind made that the filesystem tells of an error, once, and syncs
 * the mapping; with "thread's fsync" meanwhile. Prints `call ERRNO` and `msync ERRNO`.
 */
#include "guest.h"
#include <pthread.h>
#include <sys/resource.h>
#include <sys/uio.h>

static char *base;

static void tell(const char *what, int result)
{
	printf("%s %s\n", what, errname(result < 0 ? errno : 0));
	fflush(stdout);
}

static int again(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags);
}

/* The calls that the kernel refuses, and the filesystem is not asked for. */
static int refused(const char *how, int fd)
{
	struct iovec part = { .iov_base = "w", .iov_len = 1 };
	char *volatile nowhere = (char *)1;

	if (strcmp(how, "O_PATH fsync") == 0)
		return fsync(again(fd, O_PATH));
	if (strcmp(how, "O_PATH fdatasync") == 0)
		return fdatasync(again(fd, O_PATH));
	if (strcmp(how, "reader's O_SYNC") == 0)
		return pwrite(again(fd, O_RDONLY | O_SYNC), "w", 1, PAGE);
	if (strcmp(how, "O_SYNC of no memory") == 0)
		return pwrite(again(fd, O_RDWR | O_SYNC), nowhere, 1, PAGE);
	if (strcmp(how, "O_SYNC with an unknown flag") == 0)
		return pwritev2(again(fd, O_RDWR | O_SYNC), &part, 1, PAGE, 1 << 30);
	if (strcmp(how, "O_SYNC past RLIMIT_FSIZE") == 0) {
		struct rlimit limit = { .rlim_cur = PAGE, .rlim_max = RLIM_INFINITY };

		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &limit);
		return pwrite(again(fd, O_RDWR | O_SYNC), "w", 1, PAGE);
	}
	setup_failed("%s", how);
}

/* What a child of `fork` or `vfork` makes of it. */
static int call(const char *how, int fd)
{
	static const char byte[1] = "w";
	struct iovec part = { .iov_base = (void *)byte, .iov_len = 1 };

	if (strcmp(how, "fsync") == 0)
		return fsync(fd);
	if (strcmp(how, "msync") == 0)
		return msync(base, PAGE, MS_SYNC);
	if (strcmp(how, "close") == 0)
		return close(dup(fd));
	if (strcmp(how, "fclose") == 0)
		return fclose(fdopen(dup(fd), "r+"));
	if (strcmp(how, "O_SYNC") == 0)
		return pwrite(again(fd, O_RDWR | O_SYNC), byte, 1, PAGE);
	if (strcmp(how, "RWF_DSYNC") == 0)
		return pwritev2(fd, &part, 1, PAGE, RWF_DSYNC);
	return refused(how, fd);
}

static int in_vfork_child(const char *how, int fd)
{
	int status = 0;
	pid_t child = vfork();

	if (child == 0) {
		tell("call", call(how, fd));
		_exit(0);
	}
	return waitpid(child, &status, 0) == child && status == 0 ? 0 : -1;
}

static void *sync_file(void *fd)
{
	tell("call", fsync(*(int *)fd));
	return NULL;
}

/* Returns once another thread's fsync has the kernel's answer: see slow_fsync.c. */
static void begin_in_thread(pthread_t *thread, int *fd, const char *path)
{
	char told[4096];

	snprintf(told, sizeof(told), "%s.told", path);
	if (pthread_create(thread, NULL, sync_file, fd) != 0)
		setup_failed("pthread_create");
	while (access(told, F_OK) != 0)
		usleep(100);
}

int main(int argc, char **argv)
{
	int status = 0, fd;
	char *how;

	if (argc != 3)
		return EXIT_USAGE;
	how = argv[2];
	fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || ftruncate(fd, 2 * PAGE) != 0)
		setup_failed("%s", argv[1]);
	base = map_shared(fd, 2 * PAGE);
	base[0] = 'n';
	if (strncmp(how, "child's ", 8) == 0) {
		pid_t child = fork();

		if (child == 0) {
			tell("call", call(how + 8, fd));
			exit(0);
		}
		if (waitpid(child, &status, 0) != child || status != 0)
			setup_failed("a child");
	} else if (strncmp(how, "vfork child's ", 14) == 0) {
		if (in_vfork_child(how + 14, fd) != 0)
			setup_failed("a child");
	} else if (strcmp(how, "thread's fsync") == 0) {
		pthread_t thread;

		begin_in_thread(&thread, &fd, argv[1]);
		status = msync(base, 2 * PAGE, MS_SYNC);
		pthread_join(thread, NULL);
		tell("msync", status);
		return 0;
	} else {
		tell("call", call(how, fd));
	}
	tell("msync", msync(base, 2 * PAGE, MS_SYNC));
	return 0;
}
