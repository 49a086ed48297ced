/*
 * Something that takes memory of whoever looks after it; somebody else measures how much.
 *
 * usage: bench_memory DIRECTORY files|sparse|dirty
 *
 * files: 10,000 files of a page, each mapped and stored to, and none unmapped; 500 are synced.
 * sparse: a file of 1 TiB is mapped, and 10,000 pages all over it are stored to and synced.
 * dirty: a file of 4 GiB is mapped, and every page stored to; one msync.
 */
#include "guest.h"

static char *mapped_new(const char *directory, const char *name, size_t size)
{
	char path[4096];
	int fd;
	char *base;

	snprintf(path, sizeof path, "%s/%s", directory, name);
	fd = open_sized(path, size);
	base = map_shared(fd, size);
	close(fd);
	return base;
}

static void sync_all(char *base, size_t size)
{
	if (msync(base, size, MS_SYNC) != 0)
		setup_failed("msync");
}

int main(int argc, char **argv)
{
	enum { MANY = 10000, SYNCED = 500 };
	static char *bases[MANY];

	if (argc != 3)
		return EXIT_USAGE;
	if (strcmp(argv[2], "files") == 0) {
		for (int i = 0; i < MANY; i++) {
			char name[32];

			snprintf(name, sizeof name, "%d", i);
			bases[i] = mapped_new(argv[1], name, PAGE);
			bases[i][0] = 1;
		}
		for (int i = 0; i < SYNCED; i++)
			sync_all(bases[i], PAGE);
	} else if (strcmp(argv[2], "sparse") == 0) {
		size_t size = (size_t)1 << 40;
		char *base = mapped_new(argv[1], "f", size);

		for (size_t i = 0; i < MANY; i++)
			base[size / MANY / PAGE * PAGE * i] = 1;
		sync_all(base, size);
	} else if (strcmp(argv[2], "dirty") == 0) {
		size_t size = (size_t)4 << 30;
		char *base = mapped_new(argv[1], "f", size);

		for (size_t at = 0; at < size; at += PAGE)
			base[at] = 1;
		sync_all(base, size);
	} else {
		return EXIT_USAGE;
	}
	return 0;
}
