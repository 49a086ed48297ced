/*
 * The seed case: one store over four pages, msync of the whole mapping,
 * munmap, and at once a read through a separate descriptor.
 *
 * usage: seed FILE
 * Prints a line a page, `P0 [4440064,4444160) new|old|mixed`.
 * Exit: 0 whole, 1 torn, 2 a step of the setup failed, 3 msync failed.
 */
#include "guest.h"

enum {
	FILE_SIZE = 12800000,
	STORE_AT = 4442856,
	STORE_LEN = 9927,
	FIRST_PAGE = 4440064, /* P0 */
	PAGES = 4,            /* P0 to P3 */
	OLD_LEN = 3 * PAGE,   /* old data over P0 to P2; P3 is a hole */
	WINDOW_AT = 4395008,
	WINDOW_LEN = 131072,
};

static char store[STORE_LEN];
static char before[PAGES * PAGE];
static char after[PAGES * PAGE];
static char window[WINDOW_LEN];

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
	size_t start = (size_t)page * PAGE, end = start + PAGE;
	size_t store_start = STORE_AT - FIRST_PAGE, store_end = store_start + STORE_LEN;
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
	char *base;

	if (argc != 2) {
		fprintf(stderr, "usage: seed FILE\n");
		return EXIT_USAGE;
	}
	/* Old and new bytes differ everywhere, from each other and from a hole. */
	memset(before, 'o', OLD_LEN);
	for (int i = 0; i < STORE_LEN; i++)
		store[i] = 'A' + i % 26;

	if (unlink(argv[1]) != 0 && errno != ENOENT)
		setup_failed("unlink %s", argv[1]);
	writer = open_sized(argv[1], FILE_SIZE);
	if (pwrite(writer, before, OLD_LEN, FIRST_PAGE) != OLD_LEN)
		setup_failed("pwrite");
	if (fsync(writer) != 0)
		setup_failed("fsync");

	reader = open(argv[1], O_RDONLY);
	if (reader < 0)
		setup_failed("open %s", argv[1]);
	read_fully(reader, window, WINDOW_LEN, WINDOW_AT);
	close(reader);

	base = map_shared(writer, FILE_SIZE);
	memcpy(base + STORE_AT, store, STORE_LEN);
	if (msync(base, FILE_SIZE, MS_SYNC) != 0) {
		printf("msync %s\n", errname(errno));
		return 3;
	}
	if (munmap(base, FILE_SIZE) != 0)
		setup_failed("munmap");

	reader = open(argv[1], O_RDONLY);
	if (reader < 0)
		setup_failed("open %s", argv[1]);
	read_fully(reader, after, sizeof(after), FIRST_PAGE);
	for (int page = 0; page < PAGES; page++) {
		const char *what = verdict(page);
		int start = FIRST_PAGE + page * PAGE;

		printf("P%d [%d,%d) %s\n", page, start, start + PAGE, what);
		torn |= strcmp(what, "new") != 0;
	}
	return torn;
}
