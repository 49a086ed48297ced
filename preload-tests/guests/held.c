/*
 * usage: held FILE [held]
 * Stores to four pages and syncs; prints `msync ERRNO`. With `held` a child process has these pages mapped, and looks
 * at them all the time.
 */
#include "guest.h"

enum { LENGTH = 4 * PAGE };

static void look(const volatile char *base)
{
	for (;;)
		for (int at = 0; at < LENGTH; at += PAGE)
			(void)base[at];
}

int main(int argc, char **argv)
{
	pid_t child = 0;
	char *base;
	int fd;

	if (argc < 2)
		return EXIT_USAGE;
	fd = open_filled(argv[1], 4);
	if (argc > 2 && (child = fork()) == 0)
		look(mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, fd, 0));
	base = map_shared(fd, LENGTH);
	memset(base, 'n', LENGTH);
	sync_and_tell(base, LENGTH);
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	return 0;
}
