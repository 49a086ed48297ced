/*
 * usage: crammed DIRECTORY
 *
 * Maps 64 files of one page side by side, takes all mappings that a process may
 * have, and syncs 1, 2, 4 ... of the files. Prints what each msync says; then
 * once more when there is room again.
 */
#include "guest.h"

enum { FILES = 64, MOST = 1 << 21 };

static char *pages;
static void *taken[MOST];

static void sync_files(int n)
{
	for (int i = 0; i < n; i++)
		pages[(size_t)i * PAGE]++;
	printf("%d: %s\n", n, msync(pages, (size_t)n * PAGE, MS_SYNC) ? errname(errno) : "0");
}

int main(int argc, char **argv)
{
	int n = 0;

	if (argc != 2)
		return EXIT_USAGE;
	pages = mmap(NULL, (size_t)FILES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		setup_failed("mmap");
	for (int i = 0; i < FILES; i++) {
		char path[4096];
		int fd;

		snprintf(path, sizeof(path), "%s/crammed%d", argv[1], i);
		fd = open(path, O_RDWR | O_CREAT, 0600);
		if (fd < 0 || ftruncate(fd, PAGE) != 0)
			setup_failed("%s", path);
		if (mmap(pages + (size_t)i * PAGE, PAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
			setup_failed("mmap %s", path);
		close(fd);
	}
	/* Neighbours of one kind would be one mapping. */
	while (n < MOST) {
		taken[n] = mmap(NULL, PAGE, n & 1 ? PROT_READ : PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (taken[n] == MAP_FAILED)
			break;
		n++;
	}
	for (int i = 1; i <= FILES; i *= 2)
		sync_files(i);
	while (n > 0)
		munmap(taken[--n], PAGE);
	sync_files(FILES);
	return 0;
}
