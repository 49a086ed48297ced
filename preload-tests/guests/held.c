/*
 * usage: held FILE [held]
 * Stores to four pages and syncs; prints `msync ERRNO`. With `held` a child process has these pages mapped, and looks
 * at them all the time.
 */
#include "guest.h"

enum { LENGTH = 4 * PAGE };

static void look(const volatile char *base, int ready)
{
	for (;;) {
		for (int at = 0; at < LENGTH; at += PAGE)
			(void)base[at];
		if (ready >= 0 && write(ready, "", 1) != 1)
			_exit(EXIT_SETUP);
		ready = -1;
	}
}

/* The process, when it has them all mapped. */
static pid_t start_looking(int fd)
{
	int ready[2];
	char byte;
	pid_t child;

	if (pipe(ready) != 0)
		setup_failed("pipe");
	child = fork();
	if (child == 0)
		look(mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, fd, 0), ready[1]);
	if (child < 0 || read(ready[0], &byte, 1) != 1)
		setup_failed("child");
	return child;
}

int main(int argc, char **argv)
{
	pid_t child = 0;
	char *base;
	int fd;

	if (argc < 2)
		return EXIT_USAGE;
	fd = open_filled(argv[1], 4);
	if (argc > 2)
		child = start_looking(fd);
	base = map_shared(fd, LENGTH);
	memset(base, 'n', LENGTH);
	sync_and_tell(base, LENGTH);
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	return 0;
}
