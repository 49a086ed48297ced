/*
 * usage: pinned FILE SOURCE HOW
 * A slow read with O_DIRECT of SOURCE stores to a mapping of FILE (HOW: `pread`, `read`, `preadv`). Another thread syncs the
 * file meanwhile, and again once the read has ended: prints both, and what a reader of FILE gets.
 */
#include "guest.h"
#include <pthread.h>
#include <sys/uio.h>

static char *base;
static const char *source, *how;

static void *store(void *argument)
{
	struct iovec parts[] = { { base + PAGE, PAGE }, { base + 2 * PAGE, PAGE } };
	int fd = open(source, O_RDONLY | O_DIRECT);
	ssize_t n = 0;

	(void)argument;
	if (strcmp(how, "pread") == 0)
		n = pread(fd, base + PAGE, 2 * PAGE, 0);
	else if (strcmp(how, "read") == 0)
		n = read(fd, base + PAGE, 2 * PAGE);
	else if (strcmp(how, "preadv") == 0)
		n = preadv(fd, parts, 2, 0);
	if (n != 2 * PAGE)
		setup_failed("%s", how);
	return NULL;
}

int main(int argc, char **argv)
{
	char held[4 * PAGE] = "";
	pthread_t reader;
	int fd;

	if (argc != 4)
		return EXIT_USAGE;
	source = argv[2];
	how = argv[3];
	fd = open_filled(argv[1], 4);
	base = map_shared(fd, 4 * PAGE);
	pthread_create(&reader, NULL, store, NULL);
	usleep(100000);
	sync_and_tell(base, 4 * PAGE);
	pthread_join(reader, NULL);
	if (base[PAGE] != 'n')
		setup_failed("the read was not slow enough");
	sync_and_tell(base, 4 * PAGE);
	read_anew(argv[1], held, sizeof(held), 0);
	printf("held %c%c%c%c\n", held[0], held[PAGE], held[2 * PAGE], held[3 * PAGE]);
	return 0;
}
