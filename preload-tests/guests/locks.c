/*
 * usage: locks FILE posix|ofd|lease|lease-later
 * Takes record locks or leases around mappings and msyncs, and prints at each
 * step what another process (or open file description) sees of them.
 */
#include "guest.h"

enum { LENGTH = 16 * PAGE };

static const char *path;
static volatile sig_atomic_t lease_breaks;

static void on_sigio(int signal)
{
	(void)signal;
	lease_breaks++;
}

static const char *type_name(short type)
{
	return type == F_RDLCK ? "read" : type == F_WRLCK ? "write" : "none";
}

/* What a child process, which inherits no record lock, finds in its way. */
static void show_posix(const char *step, int fd)
{
	pid_t parent = getpid();
	int status;

	fflush(stdout);
	if (fork() == 0) {
		printf("%s:", step);
		for (off_t at = 0; at < 1000; at += 100) {
			struct flock lock = { .l_type = F_WRLCK, .l_start = at, .l_len = 100 };

			if (fcntl(fd, F_GETLK, &lock) != 0)
				setup_failed("F_GETLK");
			if (lock.l_type != F_UNLCK)
				printf(" [%lld,+%lld) %s%s", (long long)lock.l_start, (long long)lock.l_len,
				       type_name(lock.l_type), lock.l_pid == parent ? "" : " of a stranger");
		}
		printf("\n");
		fflush(stdout);
		_exit(0);
	}
	if (wait(&status) < 0 || status != 0)
		setup_failed("probe");
}

static void set_lock(int fd, int command, short type, off_t at)
{
	struct flock lock = { .l_type = type, .l_start = at, .l_len = 100 };

	if (fcntl(fd, command, &lock) != 0)
		setup_failed("lock at %lld", (long long)at);
}

static void posix(void)
{
	int fd = open_sized(path, LENGTH), other = open(path, O_RDWR), status;
	char *base, byte;

	set_lock(fd, F_SETLK, F_WRLCK, 0);
	set_lock(other, F_SETLK, F_RDLCK, 200);
	show_posix("before mmap", fd);
	base = map_shared(fd, LENGTH);
	show_posix("after mmap", fd);
	set_lock(fd, F_SETLK, F_WRLCK, 400);
	base[5] = 'x';
	msync(base, LENGTH, MS_SYNC);
	show_posix("after msync", fd);
	if (pread(fd, &byte, 1, 5) != 1 || byte != 'x' || read(other, &byte, 1) != 1)
		setup_failed("read");
	show_posix("after read", fd);
	fflush(stdout);
	if (fork() == 0) {
		base[PAGE] = 'y';
		msync(base, LENGTH, MS_SYNC);
		_exit(store_and_sync(fd, LENGTH, 'z') != 0);
	}
	wait(&status);
	show_posix("after a child's msync", fd);
	munmap(base, LENGTH);
	show_posix("after munmap", fd);
	set_lock(other, F_SETLK, F_UNLCK, 200);
	show_posix("after unlock", fd);
	store_and_sync(other, LENGTH, 'w');
	show_posix("after another round", fd);
	base = map_shared(fd, LENGTH);
	close(other);
	show_posix("after close of any descriptor", fd);
	set_lock(fd, F_SETLK, F_WRLCK, 600);
	base[0] = 'v';
	msync(base, LENGTH, MS_SYNC);
	show_posix("at the end", fd);
}

static void show_ofd(const char *step)
{
	int fd = open(path, O_RDWR);

	printf("%s:", step);
	for (off_t at = 0; at < 1000; at += 100) {
		struct flock lock = { .l_type = F_WRLCK, .l_start = at, .l_len = 100 };

		if (fcntl(fd, F_OFD_GETLK, &lock) != 0)
			setup_failed("F_OFD_GETLK");
		if (lock.l_type != F_UNLCK)
			printf(" [%lld,+%lld) %s", (long long)lock.l_start, (long long)lock.l_len,
			       type_name(lock.l_type));
	}
	printf("\n");
	close(fd);
}

static void ofd(void)
{
	int fd = open_sized(path, LENGTH), other = open(path, O_RDWR), copy = dup(fd), status;
	char *base;

	set_lock(fd, F_OFD_SETLK, F_WRLCK, 0);
	set_lock(other, F_OFD_SETLK, F_RDLCK, 300);
	show_ofd("before mmap");
	base = map_shared(fd, LENGTH);
	base[0] = 'x';
	msync(base, LENGTH, MS_SYNC);
	show_ofd("after msync");
	fflush(stdout);
	if (fork() == 0) {
		base[0] = 'y';
		_exit(msync(base, LENGTH, MS_SYNC) != 0);
	}
	wait(&status);
	show_ofd("after a child's msync");
	munmap(base, LENGTH);
	close(fd);
	show_ofd("after close of one of two descriptors");
	close(copy);
	show_ofd("after close of both");
	store_and_sync(other, LENGTH, 'z');
	show_ofd("at the end");
}

static void show_lease(const char *step, int fd)
{
	printf("%s: lease %s, breaks %d\n", step, type_name(fcntl(fd, F_GETLEASE)), (int)lease_breaks);
}

static void lease(int map_first)
{
	int fd = open_sized(path, LENGTH), result;
	char *base = NULL;

	signal(SIGIO, on_sigio);
	if (map_first) {
		base = map_shared(fd, LENGTH);
		base[0] = 'x';
		printf("msync %d\n", msync(base, LENGTH, MS_SYNC));
	}
	errno = 0;
	result = fcntl(fd, F_SETLEASE, F_WRLCK);
	printf("F_SETLEASE %d %s\n", result, errname(errno));
	show_lease("taken", fd);
	if (!map_first)
		base = map_shared(fd, LENGTH);
	show_lease("mapped", fd);
	base[0] = 'y';
	printf("msync %d\n", msync(base, LENGTH, MS_SYNC));
	show_lease("synced", fd);
	munmap(base, LENGTH);
	show_lease("unmapped", fd);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return EXIT_USAGE;
	path = argv[1];
	if (strcmp(argv[2], "posix") == 0)
		posix();
	else if (strcmp(argv[2], "ofd") == 0)
		ofd();
	else
		lease(strcmp(argv[2], "lease-later") == 0);
	return 0;
}
