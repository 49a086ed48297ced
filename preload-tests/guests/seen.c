/* One store over all of a file, msync, and another msync two seconds later: seen FILE. With a second word the file is
 * unlinked first, and with a third that is another name of it since. */
#include "guest.h"

int main(int argc, char **argv)
{
	int fd = argc >= 2 && argc <= 4 ? open(argv[1], O_RDWR) : -1;
	struct stat st;
	char *map;

	if (argc < 2 || argc > 4)
		return EXIT_USAGE;
	if (fd < 0 || fstat(fd, &st) != 0)
		setup_failed("open");
	map = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		setup_failed("mmap");
	if (argc == 4 && link(argv[1], argv[3]) != 0)
		setup_failed("link");
	if (argc >= 3 && unlink(argv[1]) != 0)
		setup_failed("unlink");
	memset(map, 'n', st.st_size);
	printf("msync %s\n", errname(msync(map, st.st_size, MS_SYNC) ? errno : 0));
	sleep(2);
	printf("again %s\n", errname(msync(map, st.st_size, MS_SYNC) ? errno : 0));
	return 0;
}
