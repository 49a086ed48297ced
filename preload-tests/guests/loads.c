/*
 * usage: loads LIBRARY FILE ROUNDS
 * Loads the library (mapper.c), lets it map and sync FILE, unloads it, again and
 * again, while another thread does the same with a mapping of its own.
 */
#include "guest.h"
#include <dlfcn.h>
#include <pthread.h>

static const char *own_file;
static volatile int stop;

static void *sync_own(void *unused)
{
	int fd = open_sized(own_file, 4 * PAGE);
	long failures = 0;

	(void)unused;
	while (!stop)
		failures += store_and_sync(fd, 4 * PAGE, 'o') != 0;
	close(fd);
	return (void *)failures;
}

int main(int argc, char **argv)
{
	char path[4096];
	pthread_t thread;
	void *failures;

	if (argc != 4)
		return EXIT_USAGE;
	snprintf(path, sizeof(path), "%s.own", argv[2]);
	own_file = path;
	if (pthread_create(&thread, NULL, sync_own, NULL) != 0)
		setup_failed("pthread_create");
	for (int round = 0; round < atoi(argv[3]); round++) {
		void *library = dlopen(argv[1], RTLD_NOW);
		int (*sync)(const char *, char);

		if (!library)
			setup_failed("dlopen %s: %s", argv[1], dlerror());
		*(void **)&sync = dlsym(library, "mapper_sync");
		if (!sync)
			setup_failed("dlsym");
		dprintf(STDOUT_FILENO, "called: msync %d\n", sync(argv[2], 'f'));
		dprintf(STDOUT_FILENO, "dlclose %d\n", dlclose(library));
	}
	stop = 1;
	pthread_join(thread, &failures);
	dprintf(STDOUT_FILENO, "thread: %ld failures\n", (long)failures);
	return 0;
}
