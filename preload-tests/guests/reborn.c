/*
 * A file that takes the inode number of one that is deleted.
 *
 * usage: reborn FILE
 * Stores to a page that another process takes out of the file, msyncs, and deletes the file; makes files until one has its
 * number, and stores to another page of that. Prints `msync ERRNO` for each.
 */
#include "guest.h"
#include <sys/syscall.h>

enum { PAGES = 4, MOST = 100 };

static void punch_by_another(const char *path)
{
	int status = 0;
	pid_t child = raw_fork();

	if (child == 0) {
		int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR);
		int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

		syscall(SYS_exit_group, syscall(SYS_fallocate, fd, mode, (off_t)0, (off_t)PAGE) != 0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		setup_failed("a child that punches %s", path);
}

int main(int argc, char **argv)
{
	char name[4096], page[PAGES * PAGE] = { 0 };
	struct stat deleted, made;
	char *base;
	int fd;

	if (argc != 2)
		return EXIT_USAGE;
	fd = open_filled(argv[1], PAGES);
	fstat(fd, &deleted);
	base = map_shared(fd, PAGES * PAGE);
	base[0] = 'n';
	punch_by_another(argv[1]);
	sync_and_tell(base, PAGES * PAGE);
	munmap(base, PAGES * PAGE);
	close(fd);
	unlink(argv[1]);
	for (int i = 0; i < MOST; i++) {
		snprintf(name, sizeof(name), "%s.%d", argv[1], i);
		/* No call that takes anything out of a file. */
		fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0644);
		if (write(fd, page, sizeof(page)) != sizeof(page))
			setup_failed("write");
		fstat(fd, &made);
		if (made.st_ino == deleted.st_ino) {
			base = map_shared(fd, PAGES * PAGE);
			base[PAGE] = 'n';
			sync_and_tell(base, PAGES * PAGE);
			return 0;
		}
		close(fd);
	}
	puts("no file has the same number");
	return 0;
}
