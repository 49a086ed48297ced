/*
 * Does as it is told, a line each, and answers with "0" or the name of the error.
 *
 * usage: syncer FILE
 *   sync   store to the first page of FILE, and msync
 *   store  store to each page
 *   second store to the second page, each time to another byte of it
 *   msync  msync
 *   map    map FILE once more
 *   unmap  unmap FILE
 *   again  map FILE again
 *   grow   make FILE one page larger
 *   punch  make a hole of its last page
 *   direct write a part of its second page, past the page cache
 *   write  write to its last page, with write(2)
 *   lock   lock memory that no file is mapped in
 *   pin    lock FILE's mapping in memory
 *   fsync  fsync
 *   fork   go on as a child, when this process has ended
 *   leave  go on as a child of a child, when both others have ended
 *   hide   let no other process of the same user look into this one
 * Ends with its input.
 */
#include "guest.h"
#include <sys/prctl.h>

int main(int argc, char **argv)
{
	char line[64], stamp = 0;
	int fd;
	off_t pages = 4;
	char *base;

	if (argc != 2) {
		fprintf(stderr, "usage: syncer FILE\n");
		return EXIT_USAGE;
	}
	fd = open(argv[1], O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, 4 * PAGE))
		setup_failed("%s", argv[1]);
	base = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		setup_failed("mmap");
	while (fgets(line, sizeof line, stdin)) {
		int failed = 0;

		if (!strcmp(line, "sync\n")) {
			base[0] = ++stamp;
			failed = msync(base, 4 * PAGE, MS_SYNC);
		} else if (!strcmp(line, "store\n")) {
			stamp++;
			for (int page = 0; page < 4; page++)
				base[page * PAGE] = stamp;
		} else if (!strcmp(line, "second\n")) {
			stamp++;
			base[PAGE + stamp] = stamp;
		} else if (!strcmp(line, "msync\n")) {
			failed = msync(base, 4 * PAGE, MS_SYNC);
		} else if (!strcmp(line, "unmap\n")) {
			failed = munmap(base, 4 * PAGE);
		} else if (!strcmp(line, "again\n")) {
			base = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
			failed = base == MAP_FAILED;
		} else if (!strcmp(line, "grow\n")) {
			failed = ftruncate(fd, ++pages * PAGE);
		} else if (!strcmp(line, "punch\n")) {
			failed = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * PAGE, PAGE);
		} else if (!strcmp(line, "direct\n")) {
			int direct = open(argv[1], O_RDWR | O_DIRECT);
			char *block = NULL;

			failed = direct < 0 || posix_memalign((void **)&block, 4096, 4096);
			if (!failed) {
				memset(block, 'd', 4096);
				failed = pwrite(direct, block, 512, PAGE + 1024) != 512;
			}
			free(block);
			close(direct);
		} else if (!strcmp(line, "map\n")) {
			failed = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED;
		} else if (!strcmp(line, "write\n")) {
			failed = pwrite(fd, line, 1, 3 * PAGE) != 1;
		} else if (!strcmp(line, "lock\n")) {
			failed = mlock(line, 1);
		} else if (!strcmp(line, "pin\n")) {
			failed = mlock(base, 4 * PAGE);
		} else if (!strcmp(line, "fsync\n")) {
			failed = fsync(fd);
		} else if (!strcmp(line, "fork\n")) {
			pid_t parent = getpid();

			if (fork())
				_exit(0);
			while (getppid() == parent)
				usleep(1000);
		} else if (!strcmp(line, "leave\n")) {
			pid_t first = getpid();

			if (fork()) {
				wait(NULL);
				_exit(0);
			}
			if (fork())
				_exit(0);
			while (!kill(first, 0))
				usleep(1000);
		} else if (!strcmp(line, "hide\n")) {
			failed = prctl(PR_SET_DUMPABLE, 0);
		} else {
			setup_failed("what is %s", line);
		}
		printf("%s\n", errname(failed ? errno : 0));
		fflush(stdout);
	}
	return 0;
}
