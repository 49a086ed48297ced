/*
 * A small file under a large mapping, or a file that grows under its mapping.
 *
 * usage: beyond FILE MAPPED-MIB [SIZE-MIB]
 *        beyond FILE grows [open]
 *        beyond FILE filled write|sendfile|splice
 *        beyond FILE cut
 *        beyond FILE orphaned PID
 * The first form maps so much of a file of SIZE-MIB (1), stores to a page, syncs, and prints `page tables N`, in
 * KiB (VmPTE in proc_pid_status(5)) of the process. The second maps eight pages of a file of one, writes the other
 * seven, and stores to the sixth; with `open`, a child opens the file then. The third maps an empty file, which the
 * call makes longer, and stores to nothing. The fourth has had a thread, makes the file shorter, maps it anew from its
 * third page on, and makes it longer by write. All print `msync ERRNO`. The last kills the filesystem's daemon, maps
 * pages that nobody has read, and prints `mmap ERRNO`.
 */
#include <stdbool.h>
#include <sys/syscall.h>
#include "guest.h"
#include <pthread.h>
#include <sys/sendfile.h>

static long page_tables(void)
{
	char line[256];
	long kib = -1;
	FILE *status = fopen("/proc/self/status", "r");

	while (status && fgets(line, sizeof(line), status))
		sscanf(line, "VmPTE: %ld", &kib);
	if (kib < 0)
		setup_failed("VmPTE");
	fclose(status);
	return kib;
}

static int grows(const char *path, bool opens)
{
	char page[PAGE];
	int fd = open_filled(path, 1);
	char *base = map_shared(fd, 8 * PAGE);

	memset(page, 'w', sizeof(page));
	for (int i = 1; i < 8; i++)
		if (pwrite(fd, page, sizeof(page), i * PAGE) != sizeof(page))
			setup_failed("pwrite");
	base[5 * PAGE] = 's';
	if (opens) {
		int status = 0;
		pid_t child = fork();

		/* As another program does it: the shim does not see the call. */
		if (child == 0)
			_exit(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY) < 0);
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
			setup_failed("a child that opens %s", path);
	}
	sync_and_tell(base, 8 * PAGE);
	return 0;
}

static int filled(const char *path, const char *how)
{
	/* A part of a page: the kernel has not read it in. */
	char page[PAGE / 2];
	int fd = open_filled(path, 0), ends[2];
	char *base = map_shared(fd, 8 * PAGE);
	ssize_t result = -1;

	memset(page, 'w', sizeof(page));
	if (pipe(ends) != 0 || write(ends[1], page, sizeof(page)) != sizeof(page))
		setup_failed("pipe");
	if (strcmp(how, "write") == 0)
		result = write(fd, page, sizeof(page));
	else if (strcmp(how, "splice") == 0)
		result = splice(ends[0], NULL, fd, NULL, sizeof(page), 0);
	else if (strcmp(how, "sendfile") == 0) {
		char other[4096];
		off_t offset = 0;

		snprintf(other, sizeof(other), "%s.from", path);
		result = sendfile(fd, open_filled(other, 1), &offset, sizeof(page));
	}
	if (result != sizeof(page))
		setup_failed("%s", how);
	sync_and_tell(base, 8 * PAGE);
	return 0;
}

static void *nothing(void *unused)
{
	return unused;
}

static int cut(const char *path)
{
	char page[PAGE / 2];
	int fd = open_filled(path, 8);
	char *base = map_shared(fd, 8 * PAGE), *anew;
	pthread_t thread;

	if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
		setup_failed("a thread");
	if (ftruncate(fd, 4 * PAGE) != 0)
		setup_failed("ftruncate");
	base[0] = 's';
	anew = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 2 * PAGE);
	memset(page, 'w', sizeof(page));
	if (anew == MAP_FAILED || pwrite(fd, page, sizeof(page), 5 * PAGE) != sizeof(page))
		setup_failed("pwrite");
	sync_and_tell(base, 8 * PAGE);
	return 0;
}

static int orphaned(const char *path, pid_t daemon)
{
	int fd = open_sized(path, 32 * PAGE);
	void *base;

	map_shared(fd, 8 * PAGE);
	if (kill(daemon, SIGKILL) != 0)
		setup_failed("kill");
	while (fsync(fd) == 0)
		usleep(1000);
	base = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 20 * PAGE);
	printf("mmap %s\n", errname(base == MAP_FAILED ? errno : 0));
	return 0;
}

int main(int argc, char **argv)
{
	size_t length;
	char *base;

	if (argc < 3)
		return EXIT_USAGE;
	if (strcmp(argv[2], "grows") == 0)
		return grows(argv[1], argc > 3);
	if (strcmp(argv[2], "filled") == 0 && argc == 4)
		return filled(argv[1], argv[3]);
	if (strcmp(argv[2], "cut") == 0)
		return cut(argv[1]);
	if (strcmp(argv[2], "orphaned") == 0 && argc == 4)
		return orphaned(argv[1], atoi(argv[3]));
	length = (size_t)atol(argv[2]) << 20;
	base = map_shared(open_sized(argv[1], (argc > 3 ? atol(argv[3]) : 1) << 20), length);
	base[0] = 'x';
	sync_and_tell(base, length);
	printf("page tables %ld\n", page_tables());
	return 0;
}
