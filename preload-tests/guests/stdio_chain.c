/*
 * Threads that wait for stdio's locks, one for the other.
 *
 * usage: stdio_chain FILE OTHER fopen|freopen
 * Maps FILE. One thread has locked a stream, another flushes all streams and waits for it, a third opens FILE by the call,
 * which waits for the second one; then the first stores to the mapping, syncs it and unlocks the stream. Prints `msync ERRNO`
 * when all have come to their end.
 */
#include "guest.h"
#include <pthread.h>
#include <sys/syscall.h>

static const char *path, *how;
static FILE *locked, *reopened;
static _Atomic pid_t flusher, opener;

static void *flush_all(void *unused)
{
	flusher = gettid();
	fflush(NULL);
	return unused;
}

static void *open_file(void *unused)
{
	FILE *stream;

	opener = gettid();
	stream = strcmp(how, "fopen") == 0 ? fopen(path, "r") : freopen(path, "r", reopened);
	if (stream == NULL)
		setup_failed("%s", how);
	fclose(stream);
	return unused;
}

/* Until the thread sleeps on a futex, and looks the same for a while. */
static void wait_for(_Atomic pid_t *thread)
{
	char name[64], now[256], last[256] = "";

	for (int same = 0; same < 30; usleep(1000)) {
		/* Without stdio, which is what is locked. */
		int fd;
		ssize_t size;

		snprintf(name, sizeof(name), "/proc/self/task/%d/syscall", *thread);
		fd = *thread == 0 ? -1 : syscall(SYS_openat, AT_FDCWD, name, O_RDONLY);
		size = fd < 0 ? -1 : syscall(SYS_read, fd, now, sizeof(now) - 1);
		now[size > 0 ? size : 0] = 0;
		if (fd >= 0)
			syscall(SYS_close, fd);
		same = atoi(now) == SYS_futex && strcmp(now, last) == 0 ? same + 1 : 0;
		strcpy(last, now);
	}
}

int main(int argc, char **argv)
{
	pthread_t flushes, opens;
	char *base;
	int fd, result;

	if (argc != 4)
		return EXIT_USAGE;
	path = argv[1];
	how = argv[3];
	fd = open_filled(path, 2);
	base = map_shared(fd, 2 * PAGE);
	locked = fopen(argv[2], "w+");
	reopened = fopen(argv[2], "r");
	if (locked == NULL || reopened == NULL)
		setup_failed("fopen %s", argv[2]);
	fputs("waits to be written", locked);
	flockfile(locked);
	if (pthread_create(&flushes, NULL, flush_all, NULL) != 0)
		setup_failed("pthread_create");
	wait_for(&flusher);
	if (pthread_create(&opens, NULL, open_file, NULL) != 0)
		setup_failed("pthread_create");
	wait_for(&opener);
	base[0] = 'n';
	result = msync(base, 2 * PAGE, MS_SYNC);
	funlockfile(locked);
	pthread_join(flushes, NULL);
	pthread_join(opens, NULL);
	printf("msync %s\n", result == 0 ? "0" : errname(errno));
	return 0;
}
