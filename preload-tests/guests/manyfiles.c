/*
 * One call unmaps the mappings of many files: with their names gone, nothing of them may stay.
 *
 * usage: manyfiles PREFIX COUNT [unsynced]
 */
#include "guest.h"
#include <sys/statvfs.h>

/* Inodes that are free in the filesystem of `path`. */
static unsigned long long inodes_free(const char *path)
{
	struct statvfs filesystem;

	if (statvfs(path, &filesystem) != 0)
		setup_failed("statvfs");
	return filesystem.f_ffree;
}

/* Mappings whose file's name begins with `prefix`. */
static int mappings_of(const char *prefix)
{
	char line[8192];
	int count = 0;
	FILE *maps = fopen("/proc/self/maps", "r");

	while (fgets(line, sizeof(line), maps) != NULL)
		count += strstr(line, prefix) != NULL;
	fclose(maps);
	return count;
}

static char *reserve(size_t length)
{
	char *base = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		setup_failed("mmap");
	return base;
}

int main(int argc, char **argv)
{
	static const char *const ways[] = { "munmap", "mapped over" };
	unsigned long long free_before;
	char name[4096], *directory, *end;
	int count;

	if (argc != 3 && argc != 4)
		return EXIT_USAGE;
	count = atoi(argv[2]);
	directory = strdup(argv[1]);
	end = strrchr(directory, '/');
	*end = '\0';
	free_before = inodes_free(directory);
	for (int way = 0; way < 2; way++) {
		size_t length = (size_t)count * PAGE;
		char *base = reserve(length);

		for (int i = 0; i < count; i++) {
			int fd;

			snprintf(name, sizeof(name), "%s%d", argv[1], i);
			fd = open_sized(name, PAGE);
			if (mmap(base + i * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
			    MAP_FAILED)
				setup_failed("mmap");
			close(fd);
			base[i * PAGE] = 'x';
		}
		if (argc == 3)
			printf("msync %d\n", msync(base, length, MS_SYNC));
		for (int i = 0; i < count; i++) {
			snprintf(name, sizeof(name), "%s%d", argv[1], i);
			unlink(name);
		}
		if (way == 0)
			munmap(base, length);
		else if (mmap(base, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			setup_failed("mmap");
		printf("%s: %lld inodes and %d mappings stay\n", ways[way],
		       (long long)(free_before - inodes_free(directory)), mappings_of(argv[1]));
	}
	return 0;
}
