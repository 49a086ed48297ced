/*
 * usage: becomes FILE HOW
 * Stores to four pages of a file, and executes itself with the same file: then it syncs that, and prints what a reader gets. HOW:
 * `execv`, `execlp`; `child`, which is a fork child that stores nothing; `sync`, which syncs before.
 */
#include "guest.h"

enum { LENGTH = 4 * PAGE };

int main(int argc, char **argv)
{
	char *after[] = { argv[0], argv[1], "after", NULL }, held[LENGTH] = "", *base;
	int fd;

	if (argc != 3)
		return EXIT_USAGE;
	if (strcmp(argv[2], "after") == 0) {
		fd = open(argv[1], O_RDWR);
		sync_and_tell(map_shared(fd, LENGTH), LENGTH);
		read_anew(argv[1], held, LENGTH, 0);
		printf("held %c%c%c%c\n", held[0], held[PAGE], held[2 * PAGE], held[3 * PAGE]);
		return 0;
	}
	fd = open_filled(argv[1], 4);
	base = map_shared(fd, LENGTH);
	for (int at = 0; at < LENGTH; at += PAGE)
		base[at] = 'n';
	if (strcmp(argv[2], "sync") == 0)
		msync(base, LENGTH, MS_SYNC);
	if (strcmp(argv[2], "child") == 0 && fork() != 0) {
		wait(NULL);
		sync_and_tell(base, LENGTH);
		return 0;
	}
	if (strcmp(argv[2], "execlp") == 0)
		execlp(argv[0], argv[0], argv[1], "after", NULL);
	execv(argv[0], after);
	setup_failed("exec");
}
