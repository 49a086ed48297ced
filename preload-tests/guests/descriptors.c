/*
 * usage: descriptors FILE numbers|limit N|close_range|closefrom|dup2|stderr
 * Which descriptors does a program have that maps and syncs? Prints them at
 * every step.
 */
#include "guest.h"
#include <dirent.h>
#include <sys/resource.h>

enum { LENGTH = 16 * PAGE };

static const char *path;

static void show(const char *step)
{
	printf("%s:", step);
	for (int fd = 0; fd < 1100; fd++) {
		char link[64], target[4096];
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = 0;
		target[strcspn(target, "[")] = 0; /* inode numbers of pipes */
		/* Standard streams differ from run to run. */
		if (fd < 3 && strcmp(target, path) != 0)
			printf(" %d", fd);
		else
			printf(" %d=%s", fd, strrchr(target, '/') ? strrchr(target, '/') + 1 : target);
	}
	printf("\n");
}

/* What a listing shows, its own descriptor included. */
static void list(const char *step)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int count = 0, highest = -1;

	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		count++;
		if (atoi(entry->d_name) > highest)
			highest = atoi(entry->d_name);
	}
	closedir(dir);
	printf("%s: %d descriptors, highest %d\n", step, count, highest);
}

static void numbers(void)
{
	int fd, next, pipes[2], status;
	char *base, byte;

	show("start");
	fd = open_sized(path, LENGTH);
	base = map_shared(fd, LENGTH);
	show("mapped");
	list("mapped");
	next = open("/dev/null", O_RDONLY);
	printf("open returns %d\n", next);
	base[0] = 'x';
	msync(base, LENGTH, MS_SYNC);
	show("synced");
	if (pread(fd, &byte, 1, 0) != 1)
		setup_failed("pread");
	if (pipe(pipes) != 0)
		setup_failed("pipe");
	printf("pipe returns %d %d\n", pipes[0], pipes[1]);
	close(fd);
	base[PAGE] = 'y';
	msync(base, LENGTH, MS_SYNC);
	show("closed and synced");
	fflush(stdout);
	if (fork() == 0) {
		base[0] = 'z';
		msync(base, LENGTH, MS_SYNC);
		show("child");
		list("child");
		fflush(stdout);
		_exit(0);
	}
	wait(&status);
	munmap(base, LENGTH);
	show("unmapped");
	list("unmapped");
	for (int i = 0; i < 100; i++) {
		fd = open(path, O_RDWR);
		store_and_sync(fd, LENGTH, i);
		close(fd);
	}
	show("after a hundred rounds");
}

/* Opens until EMFILE, with a mapping there and synced all the while. */
static void limit(int number)
{
	struct rlimit few = { number, number };
	int fd, opened = 0;
	char *base;

	if (setrlimit(RLIMIT_NOFILE, &few) != 0)
		setup_failed("setrlimit");
	fd = open_sized(path, LENGTH);
	base = map_shared(fd, LENGTH);
	for (;;) {
		if (open("/dev/null", O_RDONLY) < 0)
			break;
		opened++;
		base[0] = opened;
		if (opened % 8 == 0 && msync(base, LENGTH, MS_SYNC) != 0)
			setup_failed("msync");
	}
	printf("opened %d, then %s\n", opened, errname(errno));
	base[0] = 'x';
	printf("msync %d\n", msync(base, LENGTH, MS_SYNC));
	munmap(base, LENGTH);
	/* A table as full as can be: a new mapping must still work. */
	printf("another round: %d\n", store_and_sync(fd, LENGTH, 'y'));
}

static void closing(int by_closefrom)
{
	int fd = open_sized(path, LENGTH);
	char *base = map_shared(fd, LENGTH);

	base[0] = 'a';
	if (by_closefrom)
		closefrom(3);
	else if (close_range(3, ~0U, 0) != 0)
		setup_failed("close_range");
	show("closed");
	printf("msync %d\n", msync(base, LENGTH, MS_SYNC));
	base[PAGE] = 'b';
	printf("msync %d\n", msync(base, LENGTH, MS_SYNC));
	fd = open(path, O_RDWR);
	printf("open returns %d\n", fd);
	show("opened");
	printf("another round: %d\n", store_and_sync(fd, LENGTH, 'c'));
	munmap(base, LENGTH);
	show("end");
}

/* Puts the file on every number that there may be. */
static void dup2_over_all(void)
{
	/* One number is left to list them. */
	struct rlimit limits = { 2048, 2048 };
	int fd = open_sized(path, LENGTH);
	char *base = map_shared(fd, LENGTH), byte;

	if (setrlimit(RLIMIT_NOFILE, &limits) != 0)
		setup_failed("setrlimit");
	for (int number = 3; number < 1024; number++) {
		if (number == fd)
			continue;
		if (dup2(fd, number) != number)
			setup_failed("dup2 %d", number);
		base[0] = number;
		if (number % 64 == 0 && msync(base, LENGTH, MS_SYNC) != 0)
			setup_failed("msync");
	}
	list("all taken");
	printf("msync %d\n", msync(base, LENGTH, MS_SYNC));
	for (int number = 3; number < 1024; number++)
		if (pread(number, &byte, 1, 0) != 1 || byte != base[0])
			printf("%d is another file now\n", number);
	printf("another round: %d\n", store_and_sync(1023, LENGTH, 'd'));
}

/* Closes 2 and opens its database there: only its own bytes may be in it. */
static void database_on_stderr(void)
{
	char bytes[LENGTH + PAGE];
	ssize_t length;
	int fd;

	close(2);
	fd = open_sized(path, LENGTH);
	if (fd != 2)
		setup_failed("expected descriptor 2");
	lseek(fd, 0, SEEK_END);
	for (int i = 0; i < 3; i++)
		printf("round: %d\n", store_and_sync(fd, LENGTH, 'A' + i));
	/* An error makes the shim talkative at any level. */
	printf("msync of nothing: %d\n", msync((void *)PAGE, LENGTH, MS_SYNC));
	length = pread(fd, bytes, sizeof(bytes), 0);
	printf("length %zd\n", length);
	for (ssize_t i = 0; i < length; i++)
		if (bytes[i] != (i % PAGE == 0 ? 'C' : 0)) {
			printf("foreign byte %d at %zd\n", bytes[i], i);
			break;
		}
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return EXIT_USAGE;
	path = argv[1];
	if (strcmp(argv[2], "numbers") == 0)
		numbers();
	else if (strcmp(argv[2], "limit") == 0)
		limit(atoi(argv[3]));
	else if (strcmp(argv[2], "close_range") == 0)
		closing(0);
	else if (strcmp(argv[2], "closefrom") == 0)
		closing(1);
	else if (strcmp(argv[2], "dup2") == 0)
		dup2_over_all();
	else if (strcmp(argv[2], "stderr") == 0)
		database_on_stderr();
	else
		return EXIT_USAGE;
	return 0;
}
