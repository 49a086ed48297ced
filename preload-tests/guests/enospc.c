/*
 * A full disk, and space that comes back.
 *
 * usage: enospc FILE BALLAST
 * Maps all of FILE, stores in the first page and msyncs, for which there is room; stores in every
 * page and msyncs; then asks for the error through a second descriptor that was open all the
 * time; unlinks BALLAST, which frees the space, and msyncs again, five times at most, until msync
 * returns 0. The descriptor that is mapped, whose error msync has told, is then asked for one, and
 * what FILE holds on the disk is read, with O_DIRECT, unmapped and dropped from the page cache.
 * Prints `room ERRNO`, `msync ERRNO`, `fsync ERRNO`, `msync ERRNO`..., and after a 0 `own ERRNO` and
 * `lost N of M pages`.
 */
#include "guest.h"

enum { BUFFER = 1 << 20 };

static int stored_byte(off_t page)
{
	return 'A' + page % 26;
}

static long lost_pages(const char *path, off_t size)
{
	int fd = open(path, O_RDONLY | O_DIRECT);
	char *buffer = aligned_alloc(PAGE, BUFFER);
	long lost = 0;

	if (fd < 0 || buffer == NULL)
		setup_failed("open O_DIRECT");
	for (off_t at = 0; at < size; at += BUFFER) {
		ssize_t n = pread(fd, buffer, BUFFER, at);

		if (n <= 0)
			setup_failed("pread O_DIRECT");
		for (ssize_t i = 0; i < n; i += PAGE)
			lost += buffer[i] != stored_byte((at + i) / PAGE);
	}
	return lost;
}

int main(int argc, char **argv)
{
	struct stat stat;
	int fd, other, result;
	char *base;

	if (argc != 3)
		return EXIT_USAGE;
	fd = open(argv[1], O_RDWR);
	other = open(argv[1], O_RDWR);
	if (fd < 0 || other < 0 || fstat(fd, &stat) != 0)
		setup_failed("open %s", argv[1]);
	base = map_shared(fd, stat.st_size);
	base[0] = stored_byte(0);
	printf("room %s\n", errname(msync(base, PAGE, MS_SYNC) == 0 ? 0 : errno));
	for (off_t page = 0; page * PAGE < stat.st_size; page++)
		memset(base + page * PAGE, stored_byte(page), PAGE);

	sync_and_tell(base, stat.st_size);
	result = fsync(other);
	printf("fsync %s\n", errname(result == 0 ? 0 : errno));
	if (unlink(argv[2]) != 0)
		setup_failed("unlink %s", argv[2]);
	for (int attempt = 0; attempt < 5; attempt++) {
		if (sync_and_tell(base, stat.st_size) == 0) {
			printf("own %s\n", errname(fsync(fd) == 0 ? 0 : errno));
			munmap(base, stat.st_size);
			posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
			printf("lost %ld of %lld pages\n", lost_pages(argv[1], stat.st_size),
				(long long)stat.st_size / PAGE);
			break;
		}
	}
	return 0;
}
