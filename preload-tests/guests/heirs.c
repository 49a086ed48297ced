/*
 * usage: heirs FILE maps|allocates
 * A fork child maps a file of its parent's anew, which it does not open: after it has unmapped what it inherited, while the
 * parent has stored and not synced (`maps`), or beside that, after a store of its own (`allocates`: the file is all holes).
 * Then who has stored stores once more, to another page, and syncs. Prints what msync has returned.
 */
#include "guest.h"

enum { LENGTH = 8 * PAGE };

static int sync_once_more(char *base)
{
	base[PAGE] = 'n';
	sync_and_tell(base, LENGTH);
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	int fd, status, allocates;
	char *base, *again;
	pid_t child;

	if (argc != 3)
		return EXIT_USAGE;
	allocates = strcmp(argv[2], "allocates") == 0;
	fd = open_sized(argv[1], LENGTH);
	base = map_shared(fd, LENGTH);
	if (!allocates)
		base[0] = 'n';
	child = fork();
	if (child == 0) {
		if (allocates)
			base[0] = 'n';
		else
			munmap(base, LENGTH);
		again = map_shared(fd, LENGTH);
		_exit(allocates ? sync_once_more(again) : 0);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		setup_failed("the child");
	return allocates ? 0 : sync_once_more(base);
}
