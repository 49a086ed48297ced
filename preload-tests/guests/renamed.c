/* A mapped file is renamed, and its old name becomes another file's, with the bytes that are stored next: renamed FILE NEW. */
#include "guest.h"

enum { SIZE = 2 * PAGE };

int main(int argc, char **argv)
{
	char bytes[SIZE], *map;
	int fd, other;

	if (argc != 3)
		return EXIT_USAGE;
	fd = open_sized(argv[1], SIZE);
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		setup_failed("mmap");
	memset(map, 'o', SIZE);
	printf("msync %s\n", errname(msync(map, SIZE, MS_SYNC) ? errno : 0));
	if (rename(argv[1], argv[2]) != 0)
		setup_failed("rename");
	memset(bytes, 'n', SIZE);
	other = open(argv[1], O_RDWR | O_CREAT | O_EXCL, 0644);
	if (other < 0 || write(other, bytes, SIZE) != SIZE || fsync(other) != 0)
		setup_failed("the other file");
	/* The other client is shown it by now. */
	sleep(2);
	memset(map, 'n', SIZE);
	printf("again %s\n", errname(msync(map, SIZE, MS_SYNC) ? errno : 0));
	return 0;
}
