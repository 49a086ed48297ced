/* What a second client of a filesystem sees: two_clients DIR DIR2 SECONDS. Stores and syncs files in DIR and looks at them in
 * DIR2, each way of reading with a file and a process of its own. Prints a line a way: when the new data was seen first, in ms
 * since msync had returned ("never" if not in so many seconds, or why it could not be tried), and how long msync took
 * ("took-held 3"). Then, of two writers that take
 * turns under a record lock and wait for each other's store, how many stores of their own were gone: "lost 0". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIZE 8192
#define TURNS 8

static const char *ways[] = { "held", "fresh", "direct", "mapping", "lock", "drop" };

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void nap(void)
{
	struct timespec t = { 0, 3000000 };

	nanosleep(&t, NULL);
}

static void fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(0);
}

static int lock(int fd, int type)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET };

	return fcntl(fd, F_SETLKW, &l);
}

/* A name that the other client has made may come late. */
static int open_soon(const char *path, int flags)
{
	int fd = -1;

	for (int i = 0; i < 1000 && (fd = open(path, flags)) < 0; i++)
		nap();
	return fd;
}

static char first_byte(int fd)
{
	static char block[SIZE] __attribute__((aligned(4096)));

	return pread(fd, block, SIZE, 0) == SIZE ? block[SIZE / 2] : '?';
}

static void one_way(int way, const char *a, const char *b, double seconds)
{
	char from[4096], to[4096], old[SIZE], *map, *seen = NULL;
	int writer, reader = -1;
	double since, at;

	snprintf(from, sizeof from, "%s/probe-%s", a, ways[way]);
	snprintf(to, sizeof to, "%s/probe-%s", b, ways[way]);
	memset(old, 'o', SIZE);
	writer = open(from, O_RDWR | O_CREAT | O_EXCL, 0644);
	if (writer < 0 || pwrite(writer, old, SIZE, 0) != SIZE || fsync(writer))
		fail("make");
	/* All read the old data first, and by the same way. */
	reader = open_soon(to, way == 2 ? O_RDONLY | O_DIRECT : O_RDONLY);
	if (reader < 0)
		fail("open");
	for (int i = 0; i < 1000 && first_byte(reader) != 'o'; i++)
		nap();
	if (way == 3) {
		seen = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, reader, 0);
		if (seen == MAP_FAILED)
			fail("mmap to read");
		if (*(volatile char *)seen != 'o')
			fail("old data");
	}
	if (way == 1 || way == 2)
		close(reader);
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, writer, 0);
	if (map == MAP_FAILED)
		fail("mmap");
	since = now_ms();
	memset(map, 'n', SIZE);
	if (msync(map, SIZE, MS_SYNC))
		fail("msync");
	printf("took-%s %.0f\n", ways[way], now_ms() - since);
	since = now_ms();
	for (;;) {
		char byte;

		at = now_ms() - since;
		switch (way) {
		case 0:
			byte = first_byte(reader);
			break;
		case 1:
		case 2:
			reader = open(to, way == 2 ? O_RDONLY | O_DIRECT : O_RDONLY);
			if (reader < 0)
				fail("open");
			byte = first_byte(reader);
			close(reader);
			break;
		case 3:
			byte = *(volatile char *)(seen + SIZE / 2);
			break;
		case 4:
			if (lock(reader, F_RDLCK))
				fail("lock");
			byte = first_byte(reader);
			lock(reader, F_UNLCK);
			break;
		default:
			posix_fadvise(reader, 0, 0, POSIX_FADV_DONTNEED);
			byte = first_byte(reader);
		}
		if (byte == 'n') {
			printf("%s %.0f\n", ways[way], at);
			break;
		}
		if (at > seconds * 1e3) {
			printf("%s never\n", ways[way]);
			break;
		}
		nap();
	}
	fflush(stdout);
	_exit(0);
}

static uint64_t word(int fd, off_t at)
{
	uint64_t value = ~0ull;

	return pread(fd, &value, sizeof value, at) == sizeof value ? value : ~0ull;
}

static void turns(const char *a, const char *b, double seconds)
{
	const char *dirs[] = { a, b };
	const off_t shared[] = { 0, 256 }, own[] = { 4096, 8192 };
	uint64_t last[] = { 0, 0 };
	char path[4096], zeros[65536] = { 0 };
	int fd, lost = 0, unseen = 0;

	snprintf(path, sizeof path, "%s/probe-turns", a);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
	if (fd < 0 || pwrite(fd, zeros, sizeof zeros, 0) != sizeof zeros || fsync(fd))
		fail("turns");
	close(fd);
	for (int turn = 1; turn <= TURNS + 2; turn++) {
		int me = turn % 2, other = !me;
		double since = now_ms();
		char *map;

		snprintf(path, sizeof path, "%s/probe-turns", dirs[me]);
		/* Opened anew until the other's store is there. */
		for (;;) {
			fd = open_soon(path, O_RDWR);
			if (fd < 0 || lock(fd, F_WRLCK))
				fail("turn");
			if (turn > TURNS)
				posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
			if (word(fd, shared[other]) == last[other] && word(fd, own[other]) == last[other])
				break;
			if (now_ms() - since > seconds * 1e3) {
				unseen++;
				break;
			}
			close(fd);
			nap();
		}
		lost += word(fd, shared[me]) != last[me] || word(fd, own[me]) != last[me];
		if (turn <= TURNS) {
			map = mmap(NULL, sizeof zeros, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
			if (map == MAP_FAILED)
				fail("turn");
			last[me] = turn;
			memcpy(map + shared[me], &last[me], 8);
			memcpy(map + own[me], &last[me], 8);
			if (msync(map, sizeof zeros, MS_SYNC))
				fail("msync");
			munmap(map, sizeof zeros);
		}
		close(fd);
	}
	printf("lost %d\nunseen %d\n", lost, unseen);
}

int main(int argc, char **argv)
{
	double seconds;

	if (argc != 4)
		return 2;
	seconds = atof(argv[3]);
	for (int way = 0; way < 6; way++) {
		fflush(stdout);
		if (fork() == 0)
			one_way(way, argv[1], argv[2], seconds);
	}
	while (wait(NULL) > 0)
		;
	turns(argv[1], argv[2], seconds < 1 ? seconds : 1);
	return 0;
}
