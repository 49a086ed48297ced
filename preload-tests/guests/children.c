/*
 * usage: children FILE
 * Every way to make a process. Each child, and a child's child, stores into a page
 * of its own and syncs; the parent, too, goes on doing so.
 */
#include "guest.h"
#include <sched.h>
#include <spawn.h>
#include <sys/syscall.h>

enum { LENGTH = 64 * PAGE };

extern char **environ;

static int fd;
static char *base;

static int sync_page(int page)
{
	base[page * PAGE] = 'A' + page;
	return msync(base, LENGTH, MS_SYNC) != 0;
}

static void ended(const char *what, pid_t child)
{
	int status = -1;

	if (child < 0 || waitpid(child, &status, 0) != child)
		setup_failed("%s", what);
	printf("%s: %s %d, parent %d\n", what, WIFEXITED(status) ? "exit" : "signal",
	       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), sync_page(1));
	fflush(stdout);
}

/* What the program is when it executes itself. */
static int leaf(const char *path, int page)
{
	fd = open(path, O_RDWR);
	base = map_shared(fd, LENGTH);
	return sync_page(page);
}

int main(int argc, char **argv)
{
	char *spawned[] = { argv[0], argv[1], "20", NULL }, *vforked[] = { argv[0], argv[1], "21", NULL };
	pid_t child;
	char byte;

	if (argc == 3)
		return leaf(argv[1], atoi(argv[2]));
	if (argc != 2)
		return EXIT_USAGE;
	fd = open_sized(argv[1], LENGTH);
	base = map_shared(fd, LENGTH);
	printf("parent %d\n", sync_page(0));
	fflush(stdout);

	if ((child = fork()) == 0)
		_exit(sync_page(2) | (store_and_sync(fd, PAGE, 'A') != 0));
	ended("fork", child);

	if ((child = _Fork()) == 0)
		_exit(sync_page(3));
	ended("_Fork", child);

	if ((child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) == 0)
		_exit(sync_page(4));
	ended("clone", child);

	if ((child = fork()) == 0) {
		int status, bad = sync_page(5);

		if ((child = fork()) == 0)
			_exit(sync_page(6));
		waitpid(child, &status, 0);
		if ((child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) == 0)
			_exit(sync_page(7));
		bad |= status;
		waitpid(child, &status, 0);
		_exit(bad | status | sync_page(8));
	}
	ended("grandchildren", child);

	if ((child = vfork()) == 0) {
		execve(argv[0], vforked, environ);
		_exit(127);
	}
	ended("vfork and exec", child);

	if ((child = vfork()) == 0)
		_exit(7);
	ended("vfork", child);

	if ((errno = posix_spawn(&child, argv[0], NULL, NULL, spawned, environ)) != 0)
		setup_failed("posix_spawn");
	ended("posix_spawn", child);

	if ((child = fork()) == 0) {
		/* Neither exit handlers nor destructors may be in the way. */
		base[9 * PAGE] = 'A' + 9;
		exit(msync(base, LENGTH, MS_SYNC) != 0);
	}
	ended("fork and exit", child);

	for (int page = 0; page < 10; page++)
		if (pread(fd, &byte, 1, page * PAGE) != 1 || byte != 'A' + page)
			printf("page %d is missing\n", page);
	for (int page = 20; page < 22; page++)
		if (pread(fd, &byte, 1, page * PAGE) != 1 || byte != 'A' + page)
			printf("page %d is missing\n", page);
	return 0;
}
