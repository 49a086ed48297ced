/*
 * usage: often FILE ROUNDS
 * Maps 16 pages of FILE, and stores and syncs so often. Then, each time with what cachestat(2) counts as dirty after
 * an msync: a fork child stores and syncs; the file is made four times as long, and its last page written. Prints how
 * many mappings of the file there are when all of it is unmapped.
 */
#include "guest.h"
#include <sys/syscall.h>

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

enum { PAGES = 16 };

struct cachestat_range { uint64_t off, len; };
struct cachestat { uint64_t cache, dirty, writeback, evicted, recently_evicted; };

static int fd;
static char *base;

static void sync_and_count(const char *what)
{
	struct cachestat_range all = { 0, 0 };
	struct cachestat stat;
	int result = msync(base, PAGES * PAGE, MS_SYNC);

	if (syscall(SYS_cachestat, fd, &all, &stat, 0) != 0)
		setup_failed("cachestat");
	printf("%s: msync %s, dirty %llu\n", what, errname(result != 0 ? errno : 0),
	       (unsigned long long)(stat.dirty + stat.writeback));
	fflush(stdout);
}

static int count_mappings(const char *path)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[4096];
	int count = 0;

	if (maps == NULL)
		setup_failed("/proc/self/maps");
	while (fgets(line, sizeof(line), maps) != NULL)
		count += strstr(line, path) != NULL;
	fclose(maps);
	return count;
}

int main(int argc, char **argv)
{
	char page[PAGE];
	pid_t child;
	int status;

	if (argc != 3)
		return EXIT_USAGE;
	fd = open_filled(argv[1], PAGES);
	base = map_shared(fd, PAGES * PAGE);
	for (int round = 0; round < atoi(argv[2]); round++) {
		base[round % PAGES * PAGE] = (char)round;
		if (msync(base, PAGES * PAGE, MS_SYNC) != 0)
			setup_failed("msync");
	}
	base[0]++;
	sync_and_count("as before");
	child = fork();
	if (child == 0) {
		base[PAGE]++;
		sync_and_count("child");
		return 0;
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		setup_failed("the child ended with %#x", status);
	base[2 * PAGE]++;
	sync_and_count("after it");
	memset(page, 'w', sizeof(page));
	if (ftruncate(fd, 4 * PAGES * PAGE) != 0)
		setup_failed("ftruncate");
	/* The second time without a new block, which a journal would write. */
	for (int time = 0; time < 2; time++)
		if (fsync(fd) != 0 || pwrite(fd, page, PAGE, (4 * PAGES - 1) * PAGE) != PAGE)
			setup_failed("write");
	sync_and_count("grown");
	base[3 * PAGE]++;
	sync_and_count("after that");
	munmap(base, PAGES * PAGE);
	printf("mappings %d\n", count_mappings(argv[1]));
	return 0;
}
