/*
 * Stores to some pages of a file that is in the page cache as a whole, syncs, and prints which pages left it.
 *
 * usage: exact FILE PAGES [PAGE...]
 *
 * Prints `cached N` before the msync, `left FIRST LAST` for each run of pages that are not in the page cache
 * after it (mincore(2)), and `mapped N`, how many pages that were mapped still are (/proc/self/pagemap).
 */
#include "guest.h"

static long pages;
static char *base;

static unsigned char *in_cache(void)
{
	unsigned char *states = malloc(pages);

	if (mincore(base, pages * PAGE, states) != 0)
		setup_failed("mincore");
	return states;
}

int main(int argc, char **argv)
{
	char *whole;
	long cached = 0, mapped = 0;
	unsigned char *states;
	volatile char sink;
	uint64_t entry;
	int fd, pagemap;

	if (argc < 3)
		return EXIT_USAGE;
	pages = atol(argv[2]);
	fd = open_sized(argv[1], 0);
	/* In one go: filesystems with large folios then use them. */
	whole = calloc(pages, PAGE);
	if (write(fd, whole, pages * PAGE) != pages * PAGE)
		setup_failed("write");
	if (fsync(fd) != 0)
		setup_failed("fsync");
	base = map_shared(fd, pages * PAGE);
	for (long i = 0; i < pages; i++)
		sink = base[i * PAGE];
	(void)sink;
	for (int i = 3; i < argc; i++)
		base[atol(argv[i]) * PAGE] = 'x';
	states = in_cache();
	for (long i = 0; i < pages; i++)
		cached += states[i] & 1;
	printf("cached %ld\n", cached);
	if (msync(base, pages * PAGE, MS_SYNC) != 0)
		return 1;
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	for (long i = 0; i < pages; i++) {
		off_t at = ((uintptr_t)base / PAGE + i) * sizeof(entry);

		if (pread(pagemap, &entry, sizeof(entry), at) != sizeof(entry))
			setup_failed("pagemap");
		mapped += entry >> 63;
	}
	states = in_cache();
	for (long i = 0; i < pages; i++) {
		long first = i;

		while (i < pages && !(states[i] & 1))
			i++;
		if (i > first)
			printf("left %ld %ld\n", first, i - 1);
	}
	printf("mapped %ld\n", mapped);
	return 0;
}
