/* What was acknowledged while a daemon dies: acked FILE SECONDS [OTHER]. Stores growing numbers at both ends of the pages of a
 * file, in turn, and syncs each; with OTHER, a name of the file on another client, opens that anew after each sync that
 * returned 0 and looks for the number. Prints how many returned 0, how many failed, how many were not found by the other
 * client, and for each page the last number whose sync returned 0. */
#include "guest.h"

enum { PAGES = 8, SIZE = PAGES * PAGE };

static uint64_t acked[PAGES], zeros, failed, old;

static void tell(void)
{
	printf("zeros %lu\nfailed %lu\nold %lu\nacked", zeros, failed, old);
	for (int page = 0; page < PAGES; page++)
		printf(" %lu", acked[page]);
	printf("\n");
	fflush(stdout);
	_exit(0);
}

/* A page that cannot be had any more: the program is told. */
static void bus(int number)
{
	(void)number;
	failed++;
	tell();
}

static int shown(const char *other, uint64_t value, off_t at)
{
	uint64_t found;

	return read_anew(other, &found, sizeof(found), at) == sizeof(found) && found == value;
}

int main(int argc, char **argv)
{
	time_t end;
	char *map;
	int fd;

	if (argc < 3)
		return EXIT_USAGE;
	end = time(NULL) + atoi(argv[2]);
	fd = open(argv[1], O_RDWR);
	if (fd < 0)
		setup_failed("open");
	map = map_shared(fd, SIZE);
	signal(SIGBUS, bus);
	for (uint64_t value = 1; time(NULL) < end; value++) {
		int page = value % PAGES;
		char *start = map + page * PAGE;
		struct timespec nap = { 0, 2000000 };

		memcpy(start, &value, sizeof value);
		memcpy(start + PAGE - sizeof value, &value, sizeof value);
		if (msync(map, SIZE, MS_SYNC) == 0) {
			zeros++;
			acked[page] = value;
			if (argc > 3)
				old += !shown(argv[3], value, page * PAGE);
		} else {
			failed++;
		}
		nanosleep(&nap, NULL);
	}
	tell();
}
