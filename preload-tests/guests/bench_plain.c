/*
 * bench_plain FILE: what costs that has nothing to do with msync. A line "N" makes N times each: a system call that does
 * nothing, pread, mmap and munmap of memory, the same of a page of FILE; and one hundredth as many starts of true(1), to its
 * end. Prints the time of one.
 */
#include "bench.h"
#include <spawn.h>
#include <sys/syscall.h>

extern char **environ;

static int fd;
static char buffer[64];

enum { CALL, READ, MEMORY, FILE_PAGE, EXEC, KINDS };

static void once(int kind)
{
	char *true_argv[] = { "true", NULL };
	int status, flags = kind == MEMORY ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	pid_t child;
	void *page;

	switch (kind) {
	case CALL:
		syscall(SYS_getppid);
		return;
	case READ:
		if (pread(fd, buffer, sizeof buffer, 0) != sizeof buffer)
			setup_failed("pread");
		return;
	case EXEC:
		if ((errno = posix_spawn(&child, "/bin/true", NULL, NULL, true_argv, environ)) != 0)
			setup_failed("posix_spawn");
		if (waitpid(child, &status, 0) != child || status != 0)
			setup_failed("true ended with %#x", status);
		return;
	default:
		page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, flags, kind == MEMORY ? -1 : fd, 0);
		if (page == MAP_FAILED || munmap(page, PAGE) != 0)
			setup_failed("mmap");
	}
}

static void round_of(const char *line)
{
	static const char *const names[KINDS] = { "call", "read", "memory", "file", "exec" };
	long times = strtol(line, NULL, 10);

	for (int kind = 0; kind < KINDS; kind++) {
		long count = kind == EXEC ? times / 100 : times, begin = now_ns();

		for (long n = 0; n < count; n++)
			once(kind);
		printf("%s %ld ", names[kind], (now_ns() - begin) / count);
	}
	puts("");
}

int main(int argc, char **argv)
{
	char *kept;

	if (argc != 2)
		return EXIT_USAGE;
	fd = open_filled(argv[1], 2);
	/* It is one that is enforced. */
	kept = map_shared(fd, 2 * PAGE);
	kept[PAGE] = 1;
	if (msync(kept, 2 * PAGE, MS_SYNC) != 0)
		setup_failed("msync");
	serve(round_of);
	return 0;
}
