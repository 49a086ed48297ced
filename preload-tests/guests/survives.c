/*
 * A test of what survives a power cut, and the ways in which a program gets it wrong.
 *
 * usage: survives FILE CONTROL_SOCKET right|async|part|racing|ignoring|wrong
 * Stores in pages 1 and 9 of 16 of a mapping, syncs, has the test bed cut the power, and reads the
 * file back through another descriptor. `async`: the msync has MS_ASYNC. `part`: it is of the first
 * 4 pages. `racing`: a thread stores in page 9 before, during and after it. `ignoring`: its result
 * is not looked at (elsewhere a failure ends the guest with 3). `wrong`: what is expected of page 9
 * is wrong.
 * Exit: 0 all survived, 1 it did not, 2 a step of the setup failed, 3 msync failed.
 */
#include "control.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { PAGES = 16, LENGTH = PAGES * PAGE, FIRST = 1, SECOND = 9 };

static char *base;
static _Atomic int stop;
static _Atomic long stores;

static void *race(void *unused)
{
	while (!stop) {
		atomic_store((_Atomic long *)(base + SECOND * PAGE), stores + 1);
		stores++;
	}
	return unused;
}

static void wait_for_stores(void)
{
	long before = stores;

	while (stores == before)
		sched_yield();
}

/* -1 if it cannot be read: a page that became dirty after the msync cannot be written any more. */
static long read_back(const char *path, int page)
{
	int fd = open(path, O_RDONLY);
	long value;

	if (fd < 0)
		setup_failed("open %s", path);
	if (pread(fd, &value, sizeof(value), page * PAGE) != sizeof(value))
		value = -1;
	close(fd);
	return value;
}

int main(int argc, char **argv)
{
	const char *way = argc == 4 ? argv[3] : "";
	int flags = strcmp(way, "async") == 0 ? MS_ASYNC : MS_SYNC;
	size_t length = strcmp(way, "part") == 0 ? 4 * PAGE : LENGTH;
	int racing = strcmp(way, "racing") == 0;
	long first = 7, second = 8, found[2];
	pthread_t thread;
	int fd;

	if (argc != 4)
		return EXIT_USAGE;
	if (unlink(argv[1]) != 0 && errno != ENOENT)
		setup_failed("unlink %s", argv[1]);
	fd = open_sized(argv[1], LENGTH);
	if (fsync(fd) != 0)
		setup_failed("fsync");
	base = map_shared(fd, LENGTH);

	memcpy(base + FIRST * PAGE, &first, sizeof(first));
	memcpy(base + SECOND * PAGE, &second, sizeof(second));
	if (racing) {
		if (pthread_create(&thread, NULL, race, NULL) != 0)
			setup_failed("pthread_create");
		wait_for_stores();
	}
	if (msync(base, length, flags) != 0 && strcmp(way, "ignoring") != 0) {
		fprintf(stderr, "msync: %s\n", errname(errno));
		return 3;
	}
	if (racing) {
		wait_for_stores();
		stop = 1;
		pthread_join(thread, NULL);
		second = stores;
	}
	ask_control(connect_control(argv[2]), CUT_POWER);
	found[0] = read_back(argv[1], FIRST);
	found[1] = read_back(argv[1], SECOND);
	if (strcmp(way, "wrong") == 0)
		second++;
	fprintf(stderr, "found %ld and %ld, expected %ld and %ld\n", found[0], found[1], first, second);
	return found[0] != first || found[1] != second;
}
