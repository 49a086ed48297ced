/*
 * As LTP's doio: one store through a mapping of a file of 12,800,000 bytes, msync, and a read
 * through a fresh O_RDONLY descriptor, in a child; bad data is reported in doio's words.
 *
 * usage: doio FILE
 *
 * Exit: 0 all data good, 4 data compare error, 2 something else failed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 12800000, OFFSET = 4442856, LENGTH = 9927 };

static char pattern[64], expected[LENGTH], actual[LENGTH];

static void failed(const char *what)
{
	perror(what);
	exit(2);
}

static int compare(const char *path, int fd)
{
	for (int i = 0; i < LENGTH; i++) {
		int n = LENGTH - i < 32 ? LENGTH - i : 32;

		if (actual[i] == expected[i])
			continue;
		fprintf(stderr, "\ndoio(mini) (%5d) 22:33:11\n---------------------\n", getpid());
		fprintf(stderr, "*** DATA COMPARISON ERROR ***\n");
		fprintf(stderr, "check_file(%s, %d, %d, %s, %zu, 0) failed\n\n", path, OFFSET, LENGTH,
			pattern, strlen(pattern));
		fprintf(stderr, "Comparison fd is %d, with open flags 0\n", fd);
		fprintf(stderr, "Corrupt regions follow - unprintable chars are represented as '.'\n"
				"----------\n");
		fprintf(stderr, "corrupt bytes starting at file offset %d\n", OFFSET + i);
		fprintf(stderr, "    1st %2d expected bytes:  %.*s\n", n, n, expected + i);
		for (int j = i; j < i + n; j++)
			if (actual[j] < ' ')
				actual[j] = '.';
		fprintf(stderr, "    1st %2d actual bytes:    %.*s\n\n", n, n, actual + i);
		return 4;
	}
	return 0;
}

static int store(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0666);
	char *base;

	snprintf(pattern, sizeof(pattern), "L:%d:host:doio*", getpid());
	for (int i = 0; i < LENGTH; i++)
		expected[i] = pattern[i % strlen(pattern)];
	if (fd < 0 || ftruncate(fd, SIZE) != 0)
		failed(path);
	base = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		failed("mmap");
	memcpy(base + OFFSET, expected, LENGTH);
	/* doio does not look at the result either. */
	(void)msync(base, SIZE, MS_SYNC);
	munmap(base, SIZE);
	fd = open(path, O_RDONLY);
	if (fd < 0 || lseek(fd, OFFSET, SEEK_SET) != OFFSET || read(fd, actual, LENGTH) != LENGTH)
		failed("read");
	return compare(path, fd);
}

int main(int argc, char **argv)
{
	int status;
	pid_t child;

	if (argc != 2)
		return 2;
	child = fork();
	if (child == 0)
		exit(store(argv[1]));
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
		failed("child");
	if (WEXITSTATUS(status) == 4)
		fprintf(stderr, "\ndoio(mini) (%5d) 22:33:11\n---------------------\n"
				"(parent) pid %d exited because of data compare errors\n", getpid(), child);
	return WEXITSTATUS(status);
}
