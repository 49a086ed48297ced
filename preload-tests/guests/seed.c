/*
 * The seed case: one store over four pages, msync of the whole mapping,
 * munmap, and at once a read through a separate descriptor.
 *
 * usage: seed FILE
 * Prints a line a page, with pages of 4 KiB `P0 [4440064,4444160) new|old|mixed`.
 * Exit: 0 whole, 1 torn, 2 a step of the setup failed, 3 msync failed.
 */
#include "guest.h"

enum {
	PAGES = 4, /* P0 to P3 */
	OLD = 3,   /* pages with old data; P3 is a hole */
	IN_FIRST = 1304,
	IN_LAST = 431,
	WINDOW = 32,
};

/* With pages of 4 KiB, 9927 bytes at 4442856 of 12800000. */
static size_t page_size, file_size, first_page, store_at, store_len;
static char *store, *before, *after; /* PAGES pages each, of one block: it also runs with little memory */
static char *window;                 /* WINDOW pages */

static void lay_out(void)
{
	page_size = sysconf(_SC_PAGESIZE);
	store = calloc(3 * PAGES + WINDOW, page_size);
	if (!store)
		setup_failed("calloc");
	before = store + PAGES * page_size;
	after = before + PAGES * page_size;
	window = after + PAGES * page_size;
	file_size = 3125 * page_size;
	first_page = 1084 * page_size;
	store_at = first_page + page_size - IN_FIRST;
	store_len = IN_FIRST + 2 * page_size + IN_LAST;
}

static void read_fully(int fd, char *buffer, size_t length, off_t offset)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n = pread(fd, buffer + done, length - done, offset + done);
		if (n <= 0)
			setup_failed("pread %zu at %lld", length - done, (long long)(offset + done));
		done += n;
	}
}

/* Compares what the store should have left in the page with what was there before. */
static const char *verdict(int page)
{
	size_t start = page * page_size, end = start + page_size;
	size_t store_start = store_at - first_page, store_end = store_start + store_len;
	size_t new_bytes = 0, old_bytes = 0, stored = 0;

	for (size_t i = start; i < end; i++) {
		if (i < store_start || i >= store_end) {
			if (after[i] != before[i])
				return "mixed";
			continue;
		}
		stored++;
		new_bytes += after[i] == store[i - store_start];
		old_bytes += after[i] == before[i];
	}
	if (new_bytes == stored)
		return "new";
	return old_bytes == stored ? "old" : "mixed";
}

int main(int argc, char **argv)
{
	int writer, reader, torn = 0;
	size_t old_len;
	char *base;

	if (argc != 2) {
		fprintf(stderr, "usage: seed FILE\n");
		return EXIT_USAGE;
	}
	/* Old and new bytes differ everywhere, from each other and from a hole. */
	lay_out();
	old_len = OLD * page_size;
	memset(before, 'o', old_len);
	for (size_t i = 0; i < store_len; i++)
		store[i] = 'A' + i % 26;

	if (unlink(argv[1]) != 0 && errno != ENOENT)
		setup_failed("unlink %s", argv[1]);
	writer = open_sized(argv[1], file_size);
	if (pwrite(writer, before, old_len, first_page) != (ssize_t)old_len)
		setup_failed("pwrite");
	if (fsync(writer) != 0)
		setup_failed("fsync");

	reader = open(argv[1], O_RDONLY);
	if (reader < 0)
		setup_failed("open %s", argv[1]);
	read_fully(reader, window, WINDOW * page_size, first_page - 11 * page_size);
	close(reader);

	base = map_shared(writer, file_size);
	memcpy(base + store_at, store, store_len);
	if (msync(base, file_size, MS_SYNC) != 0) {
		printf("msync %s\n", errname(errno));
		return 3;
	}
	if (munmap(base, file_size) != 0)
		setup_failed("munmap");

	reader = open(argv[1], O_RDONLY);
	if (reader < 0)
		setup_failed("open %s", argv[1]);
	read_fully(reader, after, PAGES * page_size, first_page);
	for (int page = 0; page < PAGES; page++) {
		const char *what = verdict(page);
		size_t start = first_page + page * page_size;

		printf("P%d [%zu,%zu) %s\n", page, start, start + page_size, what);
		torn |= strcmp(what, "new") != 0;
	}
	return torn;
}
