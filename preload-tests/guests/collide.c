/*
 * usage: collide FILE
 * Stores through a mapping what another process writes past the page cache, and syncs, until msync fails or a while
 * has passed. Then the other process ends, and what nobody changes any more is synced again and again: prints how many
 * of these msyncs have failed after the first.
 */
#include "guest.h"

enum { PAGES = 16, ROUNDS = 20 };

static void write_directly(const char *path)
{
	int fd = open(path, O_RDWR | O_DIRECT);
	char *page = aligned_alloc(PAGE, PAGE);

	if (fd < 0 || !page)
		setup_failed("open with O_DIRECT");
	memset(page, 'd', PAGE);
	for (int i = 0;; i++)
		if (pwrite(fd, page, PAGE, i % PAGES * PAGE) != PAGE)
			setup_failed("write with O_DIRECT");
}

int main(int argc, char **argv)
{
	int fd, failed = 0, later = 0;
	double end = seconds_now() + 5;
	pid_t writer;
	char *base;

	if (argc != 2)
		return EXIT_USAGE;
	fd = open_filled(argv[1], PAGES);
	if ((writer = fork()) == 0)
		write_directly(argv[1]);
	base = map_shared(fd, PAGES * PAGE);
	while (!failed && seconds_now() < end) {
		for (int i = 0; i < 50 * PAGES; i++)
			base[i % PAGES * PAGE + i / PAGES] = 'm';
		failed = msync(base, PAGES * PAGE, MS_SYNC) != 0;
	}
	kill(writer, SIGKILL);
	waitpid(writer, NULL, 0);
	/* It may have collided once more since. */
	failed |= msync(base, PAGES * PAGE, MS_SYNC) != 0;
	for (int i = 0; i < ROUNDS; i++)
		later += msync(base, PAGES * PAGE, MS_SYNC) != 0;
	printf("%s, then %d of %d\n", failed ? "failed" : "never", later, ROUNDS);
	return 0;
}
