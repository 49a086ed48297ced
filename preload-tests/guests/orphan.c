/*
 * usage: orphan FILE
 * Prints what msync of a file returns, and then that of a fork child whose parent has ended, without rights, and without another
 * way to the file than its mapping.
 */
#include "guest.h"

enum { LENGTH = 4 * PAGE, USER = 65534 };

static void parent_and_child(const char *path)
{
	int fd = open_sized(path, LENGTH);
	char *base = map_shared(fd, LENGTH);
	pid_t parent = getpid();

	memset(base, 'n', LENGTH);
	sync_and_tell(base, LENGTH);
	close(fd);
	unlink(path);
	if (setresgid(USER, USER, USER) != 0 || setresuid(USER, USER, USER) != 0)
		setup_failed("user");
	fflush(stdout);
	if (fork() != 0)
		_exit(0);
	while (getppid() == parent)
		usleep(1000);
	memset(base, 'm', LENGTH);
	sync_and_tell(base, LENGTH);
}

int main(int argc, char **argv)
{
	int ends[2], status;
	pid_t parent;
	char none;

	if (argc != 2)
		return EXIT_USAGE;
	if (pipe(ends) != 0)
		setup_failed("pipe");
	parent = fork();
	if (parent == 0) {
		parent_and_child(argv[1]);
		return 0;
	}
	close(ends[1]);
	if (waitpid(parent, &status, 0) != parent || status != 0)
		setup_failed("the parent");
	/* Until the child has ended, too. */
	return read(ends[0], &none, 1) == 0 ? 0 : EXIT_SETUP;
}
