/*
 * A library that maps and syncs files when it is loaded, called and unloaded:
 * $MAPPER.constructor, the file it is told, $MAPPER.destructor.
 */
#include "guest.h"

int mapper_sync(const char *path, char byte);

int mapper_sync(const char *path, char byte)
{
	int fd = open_sized(path, 4 * PAGE);
	int result = store_and_sync(fd, 4 * PAGE, byte);

	close(fd);
	return result;
}

static void sync_own(const char *when, char byte)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s.%s", getenv("MAPPER"), when);
	/* Unbuffered: in a destructor, stdout may be flushed for the last time already. */
	dprintf(STDOUT_FILENO, "%s: msync %d\n", when, mapper_sync(path, byte));
}

__attribute__((constructor)) static void loaded(void)
{
	sync_own("constructor", 'c');
}

__attribute__((destructor)) static void unloaded(void)
{
	sync_own("destructor", 'd');
}
