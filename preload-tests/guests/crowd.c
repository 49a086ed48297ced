/*
 * Many processes with many threads each, all storing into the same few pages and
 * syncing them all the time.
 *
 * usage: crowd PROCS THREADS SECONDS FILE
 *
 * Each thread has a slot of 8 bytes in every page. It stores a growing number into
 * its slots of some pages, msyncs the mapping of the process, and reads one of them
 * back through a fresh descriptor: nobody else stores there, so it must be that number.
 * Prints `N msyncs` for each process. Exit: 0 good, 3 an msync failed, 4 a slot is wrong.
 */
#include "guest.h"
#include <pthread.h>

enum { PAGES = 32, SLOT = 8, MAX_THREADS = 64, PICKED = 6 };

static const char *path;
static char *base;
static double end;
static int process, threads;

struct work {
	pthread_t thread;
	int slot;
	long msyncs;
	int code;
};

static void *run(void *argument)
{
	struct work *work = argument;
	unsigned seed = work->slot + 1;
	uint64_t number = 0, seen;

	while (seconds_now() < end) {
		off_t at = 0;
		int fd;

		number++;
		for (int i = 0; i < PICKED; i++) {
			at = (off_t)(rand_r(&seed) % PAGES) * PAGE + work->slot * SLOT;
			__atomic_store_n((uint64_t *)(base + at), number, __ATOMIC_RELAXED);
		}
		if (msync(base, PAGES * PAGE, MS_SYNC) != 0) {
			fprintf(stderr, "process %d slot %d: msync %s\n", process, work->slot,
				errname(errno));
			work->code = 3;
			return NULL;
		}
		work->msyncs++;
		fd = open(path, O_RDONLY);
		if (fd < 0 || pread(fd, &seen, SLOT, at) != SLOT)
			setup_failed("reading back");
		close(fd);
		if (seen != number) {
			fprintf(stderr, "process %d slot %d offset %lld: stored %llu, found %llu\n",
				process, work->slot, (long long)at, (unsigned long long)number,
				(unsigned long long)seen);
			work->code = 4;
			return NULL;
		}
	}
	return NULL;
}

static int run_process(void)
{
	static struct work works[MAX_THREADS];
	long msyncs = 0;
	int code = 0;

	base = map_shared(open_sized(path, PAGES * PAGE), PAGES * PAGE);
	for (int i = 0; i < threads; i++) {
		works[i].slot = process * threads + i;
		if (pthread_create(&works[i].thread, NULL, run, &works[i]) != 0)
			setup_failed("pthread_create");
	}
	for (int i = 0; i < threads; i++) {
		pthread_join(works[i].thread, NULL);
		msyncs += works[i].msyncs;
		if (works[i].code != 0)
			code = works[i].code;
	}
	printf("%ld msyncs\n", msyncs);
	return code;
}

int main(int argc, char **argv)
{
	int code = 0, procs, status;

	if (argc != 5)
		return EXIT_USAGE;
	procs = atoi(argv[1]);
	threads = atoi(argv[2]);
	end = seconds_now() + atof(argv[3]);
	path = argv[4];
	if (procs < 1 || threads < 1 || threads > MAX_THREADS || procs * threads * SLOT > PAGE)
		return EXIT_USAGE;
	close(open_sized(path, PAGES * PAGE));
	for (process = 0; process < procs; process++) {
		pid_t child = fork();

		if (child < 0)
			setup_failed("fork");
		if (child == 0)
			exit(run_process());
	}
	while (wait(&status) > 0) {
		if (!WIFEXITED(status))
			fprintf(stderr, "killed by signal %d\n", WTERMSIG(status));
		if (code == 0)
			code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
	}
	return code;
}
