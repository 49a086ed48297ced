/*
 * bench_mappings FILE COUNT [store]: keeps COUNT mappings of one page of the file each. A line "N"
 * maps and unmaps one page more N times: of the file (and stores to it), and of anonymous memory.
 */
#include "bench.h"

static int fd;
static off_t beyond;
static int stores;

static void *map_page(off_t at)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, at);

	if (page == MAP_FAILED)
		setup_failed("mmap at %ld", (long)at);
	return page;
}

static void round_of(const char *line)
{
	long times = strtol(line, NULL, 10), file = 0, anonymous = 0;

	for (long n = 0; n < times; n++) {
		long begin = now_ns();
		void *page = map_page(beyond);
		if (stores)
			*(volatile char *)page = 's';
		munmap(page, PAGE);
		long middle = now_ns();
		page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		munmap(page, PAGE);
		anonymous += now_ns() - middle;
		file += middle - begin;
	}
	printf("file %ld anonymous %ld\n", file / times, anonymous / times);
}

int main(int argc, char **argv)
{
	if (argc != 3 && argc != 4)
		return EXIT_USAGE;
	stores = argc == 4;
	long count = strtol(argv[2], NULL, 10);

	/* Every other page, so that the kernel does not join them. */
	beyond = (off_t)count * 2 * PAGE;
	fd = open_sized(argv[1], beyond + PAGE);
	for (long n = 0; n < count; n++)
		map_page((off_t)n * 2 * PAGE);
	serve(round_of);
	return 0;
}
