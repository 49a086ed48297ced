/*
 * One msync, and then one munmap, of many mappings of a page each, next to each other in memory.
 *
 * usage: spread PREFIX COUNT files|parts
 *
 * files: each of a file of its own, PREFIX0 and so on. parts: each second page of PREFIX0. Stores to each before both
 * calls, and prints `CALL ERRNO MILLISECONDS`.
 */
#include "guest.h"

static char *base;
static int count;

static void map(const char *prefix, int files)
{
	char name[4096];
	int fd = -1;

	base = mmap(NULL, (size_t)count * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED)
		setup_failed("mmap");
	for (int i = 0; i < count; i++) {
		if (files || i == 0) {
			snprintf(name, sizeof(name), "%s%d", prefix, i);
			fd = open_sized(name, (off_t)(files ? 1 : 2 * count) * PAGE);
		}
		if (mmap(base + (size_t)i * PAGE, PAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, files ? 0 : (off_t)i * 2 * PAGE) == MAP_FAILED)
			setup_failed("mmap");
	}
}

static void tell(const char *call, int (*run)(void))
{
	double began;
	int result;

	for (int i = 0; i < count; i++)
		base[(size_t)i * PAGE] = *call;
	began = seconds_now();
	result = run();
	printf("%s %s %.0f\n", call, errname(result == 0 ? 0 : errno),
	       (seconds_now() - began) * 1000);
	fflush(stdout);
}

static int sync_all(void)
{
	return msync(base, (size_t)count * PAGE, MS_SYNC);
}

static int unmap_all(void)
{
	return munmap(base, (size_t)count * PAGE);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return EXIT_USAGE;
	count = atoi(argv[2]);
	map(argv[1], strcmp(argv[3], "files") == 0);
	tell("msync", sync_all);
	tell("unmap", unmap_all);
	return 0;
}
