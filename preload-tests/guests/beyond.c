/*
 * A small file under a large mapping, or a file that grows under its mapping.
 *
 * usage: beyond FILE MAPPED-MIB [SIZE-MIB]
 *        beyond FILE grows [open]
 * The first form maps so much of a file of SIZE-MIB (1), stores to a page, syncs, and prints `page tables N`, in
 * KiB (VmPTE in proc_pid_status(5)) of the process. The second maps eight pages of a file of one, writes the other
 * seven, and stores to the sixth; with `open`, a child opens the file then. Prints `msync ERRNO`.
 */
#include <stdbool.h>
#include <sys/syscall.h>
#include "guest.h"

static long page_tables(void)
{
	char line[256];
	long kib = -1;
	FILE *status = fopen("/proc/self/status", "r");

	while (status && fgets(line, sizeof(line), status))
		sscanf(line, "VmPTE: %ld", &kib);
	if (kib < 0)
		setup_failed("VmPTE");
	fclose(status);
	return kib;
}

static int grows(const char *path, bool opens)
{
	char page[PAGE];
	int fd = open_filled(path, 1);
	char *base = map_shared(fd, 8 * PAGE);

	memset(page, 'w', sizeof(page));
	for (int i = 1; i < 8; i++)
		if (pwrite(fd, page, sizeof(page), i * PAGE) != sizeof(page))
			setup_failed("pwrite");
	base[5 * PAGE] = 's';
	if (opens) {
		int status = 0;
		pid_t child = fork();

		/* As another program does it: the shim does not see the call. */
		if (child == 0)
			_exit(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY) < 0);
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
			setup_failed("a child that opens %s", path);
	}
	sync_and_tell(base, 8 * PAGE);
	return 0;
}

int main(int argc, char **argv)
{
	size_t length;
	char *base;

	if (argc < 3)
		return EXIT_USAGE;
	if (strcmp(argv[2], "grows") == 0)
		return grows(argv[1], argc > 3);
	length = (size_t)atol(argv[2]) << 20;
	base = map_shared(open_sized(argv[1], (argc > 3 ? atol(argv[3]) : 1) << 20), length);
	base[0] = 'x';
	sync_and_tell(base, length);
	printf("page tables %ld\n", page_tables());
	return 0;
}
