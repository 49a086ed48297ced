/* Threads store to pages of their own, sync them, and read them through another client at once, by a descriptor that is held and
 * by a new open: shown FILE OTHER ROUNDS [direct]. Every other time they map the page anew before the msync, which has the shim prove it
 * then; with a fourth word they punch a hole there, or write past the page cache. Prints how many looks there were, and how many
 * found old data. */
#include "guest.h"
#include <pthread.h>

enum { THREADS = 4, PAGES = 4 };

static const char *other;
static int file, direct = -1, rounds, looks, old;
static char *map;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void look(int fd, off_t at, char byte)
{
	char page[PAGE];
	int is_old = pread(fd, page, PAGE, at) != PAGE;

	for (int i = 0; i < PAGE; i++)
		is_old |= page[i] != byte;
	pthread_mutex_lock(&lock);
	looks++;
	old += is_old;
	pthread_mutex_unlock(&lock);
}

static void *work(void *number)
{
	unsigned seed = 1 + (long)number;
	int held = open(other, O_RDONLY), anew;
	char *bytes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (held < 0)
		setup_failed("open %s", other);
	for (int round = 0; round < rounds; round++) {
		off_t at = ((long)number * PAGES + rand_r(&seed) % PAGES) * PAGE;
		char byte = 1 + round % 100;

		if (direct >= 0 && round % 3 == 1) {
			memset(bytes, byte, PAGE);
			if (pwrite(direct, bytes, PAGE, at) != PAGE)
				setup_failed("pwrite");
		} else if (direct >= 0 && round % 3 == 2) {
			byte = 0;
			if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, PAGE) != 0)
				setup_failed("fallocate");
		} else {
			memset(map + at, byte, PAGE);
		}
		if (direct < 0 && round % 2 && mmap(map + at, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, at) != map + at)
			setup_failed("mmap");
		if (msync(map + at, PAGE, MS_SYNC) != 0)
			setup_failed("msync");
		look(held, at, byte);
		anew = open(other, O_RDONLY);
		look(anew, at, byte);
		close(anew);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];

	if (argc != 4 && argc != 5)
		return EXIT_USAGE;
	other = argv[2];
	rounds = atoi(argv[3]);
	file = open_sized(argv[1], THREADS * PAGES * PAGE);
	map = map_shared(file, THREADS * PAGES * PAGE);
	if (argc == 5 && (direct = open(argv[1], O_RDWR | O_DIRECT)) < 0)
		setup_failed("open");
	for (long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("looks %d\nold %d\n", looks, old);
	return 0;
}
