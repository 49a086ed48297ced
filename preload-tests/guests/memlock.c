/*
 * usage: memlock FILE
 * Locks as much memory as RLIMIT_MEMLOCK allows, beside a mapping of FILE that is synced, and then more. As a user who may lock
 * no more than that.
 */
#include "guest.h"
#include <sys/resource.h>

enum { PAGES = 16 };

int main(int argc, char **argv)
{
	const struct rlimit limit = { PAGES * PAGE, PAGES * PAGE };
	char *base, *secret = mmap(NULL, 2 * PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (argc != 2)
		return EXIT_USAGE;
	base = map_shared(open_filled(argv[1], PAGES), PAGES * PAGE);
	for (int round = 0; round < 2; round++) {
		base[round * PAGE]++;
		printf("msync %s\n", errname(msync(base, PAGES * PAGE, MS_SYNC) ? errno : 0));
	}
	if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)))
		setup_failed("limits");
	errno = 0;
	printf("all %d", mlock(secret, PAGES * PAGE));
	printf(" %s\n", errname(errno));
	printf("more %s\n", errname(mlock(secret, (PAGES + 1) * PAGE) ? errno : 0));
	printf("unlock %d\n", munlock(secret, 2 * PAGES * PAGE));
	errno = 0;
	printf("all %d", mlock2(secret, PAGES * PAGE, MLOCK_ONFAULT));
	printf(" %s\n", errname(errno));
	base[0]++;
	printf("msync %s\n", errname(msync(base, PAGES * PAGE, MS_SYNC) ? errno : 0));
	return 0;
}
