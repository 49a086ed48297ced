/*
 * Maps a file twice, reads some pages and stores to some, and prints at its end what the kernel counts.
 *
 * usage: statistics FILE [unmap|pmap]
 *
 * Prints, of all mappings of the file together, `size`, `rss` and `dirty` in bytes (/proc/self/smaps),
 * with `pmap` `pmap-rss` and `pmap-dirty` in KiB (pmap -x), `cached` pages (mincore(2)), and
 * of the process `minor` and `major` faults (getrusage(2)). `unmap`: then unmaps them.
 */
#include "guest.h"
#include <sys/resource.h>

enum { PAGES = 64 };

static char *first, *second;

/* Whether a line begins with the addresses of one of the guest's mappings: the shim may have others. */
static int is_ours(const char *line)
{
	uintptr_t start;

	return sscanf(line, "%lx", &start) == 1 &&
	       ((start >= (uintptr_t)first && start < (uintptr_t)first + PAGES * PAGE) ||
		(start >= (uintptr_t)second && start < (uintptr_t)second + PAGES / 2 * PAGE));
}

static void smaps(void)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	unsigned long size = 0, rss = 0, dirty = 0, kib;
	char line[8192];
	int ours = 0;

	if (file == NULL)
		setup_failed("smaps");
	while (fgets(line, sizeof(line), file) != NULL) {
		if (strchr("0123456789abcdef", line[0]) && strchr(line, '-') != NULL)
			ours = is_ours(line);
		else if (ours && sscanf(line, "Size: %lu", &kib) == 1)
			size += kib;
		else if (ours && sscanf(line, "Rss: %lu", &kib) == 1)
			rss += kib;
		else if (ours && (sscanf(line, "Shared_Dirty: %lu", &kib) == 1 ||
				  sscanf(line, "Private_Dirty: %lu", &kib) == 1))
			dirty += kib;
	}
	fclose(file);
	printf("size %lu\nrss %lu\ndirty %lu\n", size * 1024, rss * 1024, dirty * 1024);
}

static void pmap(void)
{
	unsigned long rss = 0, dirty = 0, one_rss, one_dirty;
	char line[8192], command[64];
	FILE *pipe;

	snprintf(command, sizeof(command), "pmap -x %d 2>/dev/null", getpid());
	if ((pipe = popen(command, "r")) == NULL)
		setup_failed("pmap");
	while (fgets(line, sizeof(line), pipe) != NULL)
		if (is_ours(line) &&
		    sscanf(line, "%*x %*u %lu %lu", &one_rss, &one_dirty) == 2) {
			rss += one_rss;
			dirty += one_dirty;
		}
	if (pclose(pipe) != 0)
		setup_failed("pmap");
	printf("pmap-rss %lu\npmap-dirty %lu\n", rss, dirty);
}

int main(int argc, char **argv)
{
	unsigned char cached[PAGES], page[PAGE] = { 1 };
	struct rusage usage;
	int fd, count = 0;
	volatile char sink;

	if (argc < 2)
		return EXIT_USAGE;
	fd = open_sized(argv[1], 0);
	for (int i = 0; i < PAGES; i++)
		if (write(fd, page, PAGE) != PAGE)
			setup_failed("write");
	if (fsync(fd) != 0)
		setup_failed("fsync");
	first = map_shared(fd, PAGES * PAGE);
	second = map_shared(fd, PAGES * PAGE / 2);
	first[0] = first[1 * PAGE] = 'a';
	if (msync(first, PAGES * PAGE, MS_SYNC) != 0)
		return 1;
	/* Only the pages that are touched: the neighbours come with a read fault. */
	madvise(first, PAGES * PAGE, MADV_RANDOM);
	madvise(second, PAGES * PAGE / 2, MADV_RANDOM);
	for (int i = 10; i < 20; i++)
		sink = first[i * PAGE];
	(void)sink;
	first[30 * PAGE] = first[40 * PAGE] = second[5 * PAGE] = 'b';
	if (mincore(first, PAGES * PAGE, cached) != 0)
		setup_failed("mincore");
	for (int i = 0; i < PAGES; i++)
		count += cached[i] & 1;
	smaps();
	if (argc > 2 && strcmp(argv[2], "pmap") == 0)
		pmap();
	getrusage(RUSAGE_SELF, &usage);
	printf("cached %d\nminor %ld\nmajor %ld\n", count, usage.ru_minflt, usage.ru_majflt);
	if (argc > 2 && strcmp(argv[2], "unmap") == 0) {
		munmap(first, PAGES * PAGE);
		munmap(second, PAGES * PAGE / 2);
	}
	return 0;
}
