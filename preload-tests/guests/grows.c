/*
 * A file, and a mapping of it, that become longer or shorter many times.
 *
 * usage: grows FILE mapping|same|longer|shorter ROUNDS
 *
 * Maps so many pages of FILE, and one more. In each round stores to the first, and then: mapping: makes file and mapping a
 * page longer, where it is, and stores to that; same, longer, shorter: truncates the file to the size that it has, or to
 * a page more or less. Syncs it all at the end.
 */
#define _GNU_SOURCE
#include "guest.h"

int main(int argc, char **argv)
{
	size_t rounds, length, size;
	char *room, *base;
	int fd;

	if (argc != 4)
		return EXIT_USAGE;
	rounds = (size_t)atol(argv[3]);
	length = size = (rounds + 1) * PAGE;
	fd = open_sized(argv[1], size);
	room = mmap(NULL, 2 * length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED || munmap(room, 2 * length) != 0)
		setup_failed("room");
	base = mmap(room, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	if (base != room)
		setup_failed("mmap");
	for (size_t i = 0; i < rounds; i++) {
		base[0]++;
		if (strcmp(argv[2], "same") != 0)
			size += strcmp(argv[2], "shorter") == 0 ? -PAGE : PAGE;
		if (ftruncate(fd, size) != 0)
			setup_failed("ftruncate");
		if (strcmp(argv[2], "mapping") != 0)
			continue;
		if (mremap(base, length, length + PAGE, 0) != base)
			setup_failed("mremap");
		base[length] = 1;
		length += PAGE;
	}
	if (msync(base, length, MS_SYNC) != 0)
		setup_failed("msync");
	return 0;
}
