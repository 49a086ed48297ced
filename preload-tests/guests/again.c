/*
 * usage: again FILE [child] [halved]
 * Stores to two pages and syncs, three times, and prints `msync ERRNO` for each; with `child`, a fork child does, which has
 * inherited the mapping. With `halved` another process opens the file in the midst of the last store.
 */
#include <sys/syscall.h>
#include "guest.h"

enum { LENGTH = 16 * PAGE, STORED = 2 * PAGE, ROUNDS = 3 };

static void wait_for(pid_t child, const char *what)
{
	int status = 0;

	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		setup_failed("%s", what);
}

static void let_another_open(const char *path)
{
	pid_t child = fork();

	if (child == 0) {
		/* As another program does it: the shim does not see the call. */
		int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);

		_exit(fd < 0);
	}
	wait_for(child, "a child that opens the file");
}

int main(int argc, char **argv)
{
	int halved = argc > 2 && strcmp(argv[argc - 1], "halved") == 0;
	char *base;

	if (argc < 2)
		return EXIT_USAGE;
	base = map_shared(open_sized(argv[1], LENGTH), LENGTH);
	if (argc > 2 && strcmp(argv[2], "child") == 0) {
		pid_t child = fork();

		if (child != 0) {
			wait_for(child, "a child that syncs");
			return 0;
		}
	}
	for (int round = 1; round <= ROUNDS; round++) {
		memset(base, 'a' + round, STORED / 2);
		if (halved && round == ROUNDS)
			let_another_open(argv[1]);
		memset(base + PAGE / 2, 'a' + round, STORED - PAGE / 2);
		sync_and_tell(base, LENGTH);
	}
	return 0;
}
