/* Stores and syncs a file, and reads it by another name: elsewhere FILE OTHER. Fails where the other name shows old data. */
#include "guest.h"

int main(int argc, char **argv)
{
	char byte = 0, block[PAGE];
	int fd, other;
	char *map;

	if (argc != 3)
		return EXIT_USAGE;
	fd = open(argv[1], O_RDWR | O_CREAT, 0644);
	memset(block, 'o', sizeof block);
	if (fd < 0 || pwrite(fd, block, sizeof block, 0) != sizeof block || fsync(fd) != 0)
		setup_failed("old data");
	/* By the other name, too: as what it may cache. */
	other = open(argv[2], O_RDONLY);
	if (other < 0)
		setup_failed("open %s", argv[2]);
	for (int i = 0; i < 5000 && (pread(other, &byte, 1, 0) != 1 || byte != 'o'); i++)
		usleep(1000);
	if (byte != 'o')
		setup_failed("old data of %s", argv[2]);
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		setup_failed("mmap");
	memset(map, 'n', PAGE);
	if (msync(map, PAGE, MS_SYNC) != 0)
		setup_failed("msync");
	if (pread(other, &byte, 1, 0) != 1)
		setup_failed("read");
	printf("%c\n", byte);
	return byte != 'n';
}
