/* Stores and syncs a file, and reads it by another name: elsewhere FILE OTHER [HOW]. Fails where the other name shows old
 * data. HOW it does that: `part` syncs another page than the one it reads, `async` with MS_ASYNC, `mapping` reads through one,
 * `reopen` opens anew, `never` unmaps without having synced, `unlinked` takes the name away before, and `fsync` maps nothing, and
 * writes. */
#include "guest.h"

enum { SIZE = 2 * PAGE };

int main(int argc, char **argv)
{
	const char *how = argc == 4 ? argv[3] : "";
	char byte = 0, block[SIZE];
	volatile char *shown = NULL;
	size_t synced = SIZE;
	int fd, other;
	char *map;

	if (argc != 3 && argc != 4)
		return EXIT_USAGE;
	fd = open(argv[1], O_RDWR | O_CREAT, 0644);
	memset(block, 'o', sizeof block);
	if (fd < 0 || pwrite(fd, block, sizeof block, 0) != sizeof block || fsync(fd) != 0)
		setup_failed("old data");
	/* By the other name, too: as what it may cache. */
	other = open(argv[2], O_RDONLY);
	if (other < 0)
		setup_failed("open %s", argv[2]);
	for (int i = 0; i < 5000 && (pread(other, &byte, 1, PAGE) != 1 || byte != 'o'); i++) {
		usleep(1000);
		if (!strcmp(how, "reopen")) {
			close(other);
			other = open(argv[2], O_RDONLY);
		}
	}
	if (byte != 'o')
		setup_failed("old data of %s", argv[2]);
	if (!strcmp(how, "mapping")) {
		shown = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, other, 0);
		if (shown == MAP_FAILED || shown[PAGE] != 'o')
			setup_failed("mmap %s", argv[2]);
	}
	if (!strcmp(how, "fsync")) {
		memset(block, 'n', sizeof block);
		if (pwrite(fd, block, sizeof block, 0) != sizeof block || fsync(fd) != 0 || pread(other, &byte, 1, PAGE) != 1)
			setup_failed("new data");
		printf("%c\n", byte);
		return byte != 'n';
	}
	map = map_shared(fd, SIZE);
	memset(map, 'n', SIZE);
	if (!strcmp(how, "part"))
		synced = PAGE;
	if (!strcmp(how, "never") || !strcmp(how, "unlinked")) {
		if ((!strcmp(how, "unlinked") && unlink(argv[1]) != 0) || munmap(map, SIZE) != 0)
			setup_failed("munmap");
	} else if (msync(map, synced, !strcmp(how, "async") ? MS_ASYNC : MS_SYNC) != 0)
		setup_failed("msync");
	if (shown)
		byte = shown[PAGE];
	else if (pread(!strcmp(how, "reopen") ? open(argv[2], O_RDONLY) : other, &byte, 1, PAGE) != 1)
		setup_failed("read");
	printf("%c\n", byte);
	return byte != 'n';
}
