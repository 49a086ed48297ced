/* A mapped file is renamed, and its old name becomes another file's, with the bytes that are stored next, which OTHER, that name
 * through another client, shows by then: renamed FILE NEW OTHER. With a fourth word the other file takes the name away from it
 * (rename(2)). */
#include "guest.h"

enum { SIZE = 2 * PAGE };

int main(int argc, char **argv)
{
	char bytes[SIZE], *map, shown = 0;
	int fd, other;

	if (argc != 4 && argc != 5)
		return EXIT_USAGE;
	fd = open_sized(argv[1], SIZE);
	map = map_shared(fd, SIZE);
	memset(map, 'o', SIZE);
	printf("msync %s\n", errname(msync(map, SIZE, MS_SYNC) ? errno : 0));
	if (argc == 4 && rename(argv[1], argv[2]) != 0)
		setup_failed("rename");
	memset(bytes, 'n', SIZE);
	other = open(argv[argc == 5 ? 2 : 1], O_RDWR | O_CREAT | O_EXCL, 0644);
	if (other < 0 || write(other, bytes, SIZE) != SIZE || fsync(other) != 0)
		setup_failed("the other file");
	if (argc == 5 && rename(argv[2], argv[1]) != 0)
		setup_failed("rename");
	while (read_anew(argv[3], &shown, 1, 0) != 1 || shown != 'n')
		usleep(10000);
	memset(map, 'n', SIZE);
	printf("again %s\n", errname(msync(map, SIZE, MS_SYNC) ? errno : 0));
	return 0;
}
