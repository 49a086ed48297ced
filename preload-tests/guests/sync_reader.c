/*
 * Stores through one mapping of a file and syncs another, that was made of a descriptor open for reading only.
 *
 * usage: sync_reader FILE HOW
 *
 * HOW is `mapped`, or `unmapped`: the one that was stored through is unmapped before. Prints `msync ERROR`.
 */
#include "guest.h"

int main(int argc, char **argv)
{
	const size_t size = 16 * PAGE;
	char *stored, *read;
	int fd, other;

	if (argc != 3)
		setup_failed("usage: sync_reader FILE mapped|unmapped");
	fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || ftruncate(fd, size) != 0)
		setup_failed(argv[1]);
	/* O_SYNC: the test bed lets such a descriptor be mapped. */
	other = open(argv[1], O_RDONLY | O_SYNC);
	stored = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	read = mmap(NULL, size, PROT_READ, MAP_SHARED, other, 0);
	if (other < 0 || stored == MAP_FAILED || read == MAP_FAILED)
		setup_failed("mmap");
	memset(stored, 'n', 3 * PAGE);
	if (strcmp(argv[2], "unmapped") == 0)
		munmap(stored, size);
	if (msync(read, size, MS_SYNC) == 0)
		printf("msync 0\n");
	else
		printf("msync %s\n", strerrorname_np(errno));
	return 0;
}
