/*
 * A file that is made with the inode number of one that is deleted.
 *
 * usage: renumbered FILE msync|munmap open|creat|fopen|mkstemp
 * Stores to a page through a mapping, and writes another; msyncs or not, unmaps, closes, deletes the file and makes another
 * one. Writes, stores to and syncs that. Prints whether it has the number, and what its calls returned; what the msync of
 * the first one returned goes to standard error.
 */
#include "guest.h"

enum { PAGES = 4, MOST = 500 };

static int make(const char *how, char *name)
{
	FILE *stream;

	if (strcmp(how, "mkstemp") == 0) {
		strcat(name, ".XXXXXX");
		return mkstemp(name);
	}
	strcat(name, ".new");
	if (strcmp(how, "creat") == 0)
		close(creat(name, 0600));
	if (strcmp(how, "fopen") == 0) {
		stream = fopen(name, "w+");
		return stream == NULL ? -1 : fileno(stream);
	}
	return open(name, O_RDWR | O_CREAT, 0600);
}

int main(int argc, char **argv)
{
	char name[4096], page[PAGE];
	struct stat deleted, made;
	char *base;
	int fd;

	if (argc != 4)
		return EXIT_USAGE;
	fd = open_sized(argv[1], PAGES * PAGE);
	fstat(fd, &deleted);
	base = map_shared(fd, PAGES * PAGE);
	base[0] = 'n';
	memset(page, 'n', sizeof(page));
	if (pwrite(fd, page, sizeof(page), PAGE) != sizeof(page))
		setup_failed("pwrite");
	if (strcmp(argv[2], "msync") == 0)
		fprintf(stderr, "msync %d\n", msync(base, PAGES * PAGE, MS_SYNC));
	munmap(base, PAGES * PAGE);
	close(fd);
	unlink(argv[1]);
	/* The kernel forgets the first one a little later. */
	for (int i = 0; i < MOST; i++) {
		strcpy(name, argv[1]);
		fd = make(argv[3], name);
		fstat(fd, &made);
		if (made.st_ino == deleted.st_ino)
			break;
		close(fd);
		unlink(name);
		usleep(10000);
	}
	puts(made.st_ino == deleted.st_ino ? "the same number" : "another number");
	for (int i = 0; i < PAGES; i++)
		if (write(fd, page, sizeof(page)) != sizeof(page))
			setup_failed("write");
	printf("fsync %s\n", fsync(fd) == 0 ? "0" : errname(errno));
	base = map_shared(fd, PAGES * PAGE);
	base[2 * PAGE] = 'm';
	sync_and_tell(base, PAGES * PAGE);
	munmap(base, PAGES * PAGE);
	printf("close %s\n", close(fd) == 0 ? "0" : errname(errno));
	return 0;
}
