/* Before the msync of what was stored, a call that has the shim prove it first: settled FILE CALL. */
#include "guest.h"

enum { SIZE = 4 * PAGE };

int main(int argc, char **argv)
{
	const char *call = argc == 3 ? argv[2] : "";
	char *map;
	int fd;

	if (argc != 3)
		return EXIT_USAGE;
	fd = open(argv[1], O_RDWR);
	if (fd < 0)
		setup_failed("open");
	map = map_shared(fd, SIZE);
	if (!strcmp(call, "child") && fork() == 0) {
		memset(map, 'n', SIZE);
		_exit(0);
	} else if (!strcmp(call, "child")) {
		wait(NULL);
	} else if (!strcmp(call, "twin")) {
		char *twin = map_shared(fd, SIZE);

		memset(twin, 'n', SIZE);
		if (munmap(twin, SIZE) != 0)
			setup_failed("munmap");
	} else if (!strcmp(call, "written")) {
		char bytes[SIZE];

		memset(bytes, 'n', SIZE);
		if (pwrite(fd, bytes, SIZE, 0) != SIZE)
			setup_failed("pwrite");
	} else {
		memset(map, 'n', SIZE);
	}
	if (!strcmp(call, "remap") || !strcmp(call, "reopen")) {
		if (munmap(map, SIZE) != 0)
			setup_failed("munmap");
		if (!strcmp(call, "reopen") && (close(fd) != 0 || (fd = open(argv[1], O_RDWR)) < 0))
			setup_failed("open");
		map = map_shared(fd, SIZE);
	}
	/* Another part of the file is synced first. */
	if (!strcmp(call, "written") || !strcmp(call, "remap"))
		msync(map + SIZE - PAGE, PAGE, MS_SYNC);
	if (!strcmp(call, "half")) {
		if (munmap(map, PAGE) != 0)
			setup_failed("munmap");
		printf("msync %s\n", errname(msync(map + PAGE, SIZE - PAGE, MS_SYNC) ? errno : 0));
		return 0;
	}
	if (!strcmp(call, "part")) {
		if (munmap(map, PAGE) != 0 || mmap(map, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != map)
			setup_failed("mmap");
	}
	if (!strcmp(call, "over") && mmap(map, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != map)
		setup_failed("mmap");
	if (!strcmp(call, "grow") && ftruncate(fd, 2 * SIZE) != 0)
		setup_failed("ftruncate");
	if (!strcmp(call, "shrink") && ftruncate(fd, SIZE - PAGE) != 0)
		setup_failed("ftruncate");
	if (!strcmp(call, "regrow") && (ftruncate(fd, SIZE / 2) != 0 || ftruncate(fd, SIZE) != 0))
		setup_failed("ftruncate");
	if (!strcmp(call, "punch") && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE) != 0)
		setup_failed("fallocate");
	if (!strcmp(call, "open"))
		close(open(argv[1], O_RDONLY));
	if (!strcmp(call, "madvise") && madvise(map, SIZE, MADV_DONTNEED) != 0)
		setup_failed("madvise");
	if (!strcmp(call, "pageout") && madvise(map, SIZE, MADV_PAGEOUT) != 0)
		setup_failed("madvise");
	printf("msync %s\n", errname(msync(map, SIZE - PAGE, MS_SYNC) ? errno : 0));
	return 0;
}
