/*
 * Stores, and cuts the power of the filesystem right after msync returned.
 *
 * usage: powercut FILE CONTROL_SOCKET sync|nosync|hole
 *
 * Stores the byte `1 + position % 250` in a few ranges of a 4 MiB file, prints
 * them as `OFFSET LENGTH`, calls msync (`nosync`: does not; `hole`: with a page
 * in the middle of the mapping unmapped, prints the errno) and sends the cut.
 * Exit: 0, or 2 if a step failed.
 */
#include "control.h"

enum { FILE_SIZE = 4 << 20, HOLE_AT = 2 << 20 };

static const struct { size_t offset, length; } stores[] = {
	{ 0, 1 }, { 100, 9927 }, { 65536, 65536 }, { 1048575, 2 },
	{ 2097152 + 3 * PAGE, 3 * PAGE }, { 3000000, 200000 }, { FILE_SIZE - 1, 1 },
};

int main(int argc, char **argv)
{
	int fd, control, error = 0;
	char *base;

	if (argc != 4)
		return EXIT_USAGE;
	fd = open_sized(argv[1], FILE_SIZE);
	if (fsync(fd) != 0)
		setup_failed("fsync");
	control = connect_control(argv[2]);

	base = map_shared(fd, FILE_SIZE);
	for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
		size_t end = stores[i].offset + stores[i].length;

		for (size_t at = stores[i].offset; at < end; at++)
			base[at] = 1 + at % 250;
		printf("%zu %zu\n", stores[i].offset, stores[i].length);
	}
	if (strcmp(argv[3], "hole") == 0 && munmap(base + HOLE_AT, PAGE) != 0)
		setup_failed("munmap");
	if (strcmp(argv[3], "nosync") != 0 && msync(base, FILE_SIZE, MS_SYNC) != 0)
		error = errno;
	ask_control(control, CUT_POWER);
	printf("msync %s\n", errname(error));
	return 0;
}
