/*
 * bench_rounds FILE BYTES HOW full|sparse: maps the file, all of it cached and mapped unless
 * sparse. A line "PAGES SEED READ" stores to so many pages all over it, syncs the whole mapping
 * HOW, and, if READ, reads a byte of every page again. BYTES is a power of two.
 */
#include "bench.h"

static int fd;
static size_t size;
static char *base;
static enum how how;

static long read_all(void)
{
	long begin = now_ns();
	volatile char *pages = base;

	for (size_t at = 0; at < size; at += PAGE)
		(void)pages[at];
	return now_ns() - begin;
}

static void round_of(const char *line)
{
	unsigned long pages, seed, total = size / PAGE;
	int again;
	long begin, stored, synced;

	if (sscanf(line, "%lu %lu %d", &pages, &seed, &again) != 3 || pages > total)
		exit(EXIT_USAGE);
	/* An odd step visits every page of a power of two once before the first comes again. */
	unsigned long step = pages < total ? (seed * 2654435761UL) | 1 : 1;
	unsigned long page = pages < total ? seed * 40503UL : 0;

	begin = now_ns();
	for (unsigned long n = 0; n < pages; n++, page += step)
		((volatile char *)base)[page % total * PAGE] = (char)(seed + n);
	stored = now_ns();
	sync_range(how, fd, base, size, base, size);
	synced = now_ns();
	printf("store %ld sync %ld read %ld\n", stored - begin, synced - stored,
	       again ? read_all() : 0);
}

int main(int argc, char **argv)
{
	static char block[1 << 20];

	if (argc != 5)
		return EXIT_USAGE;
	size = strtoul(argv[2], NULL, 10);
	how = parse_how(argv[3]);
	fd = open_sized(argv[1], size);
	if (strcmp(argv[4], "full") == 0) {
		memset(block, 'x', sizeof block);
		for (size_t at = 0; at < size; at += sizeof block)
			if (pwrite(fd, block, sizeof block, at) != sizeof block)
				setup_failed("pwrite");
		if (fsync(fd) != 0)
			setup_failed("fsync");
	}
	base = map_shared(fd, size);
	if (strcmp(argv[4], "full") == 0)
		read_all();
	serve(round_of);
	return 0;
}
