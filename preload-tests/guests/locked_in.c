/*
 * usage: locked_in FILE
 * Threads store and sync, and one opens and maps, while the main thread locks all of them in a sandbox that ends the
 * process at all but a few system calls (seccomp(2), SECCOMP_FILTER_FLAG_TSYNC).
 */
#include "guest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { PAGES = 16, THREADS = 3, PATIENCE_MS = 10000 };

static const int allowed[] = { SYS_msync, SYS_mmap, SYS_munmap, SYS_openat, SYS_close, SYS_clock_nanosleep, SYS_write,
	SYS_exit_group };

static const char *path;
static char *base;
static volatile long rounds[THREADS];

static void *works(void *argument)
{
	long own = (long)(intptr_t)argument;

	for (;;) {
		base[(own * 4 + rounds[own] % 4) * PAGE]++;
		if (msync(base, PAGES * PAGE, MS_SYNC) != 0)
			_exit(1);
		if (own == 0) {
			int fd = open(path, O_RDWR);
			char *more = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

			munmap(more, PAGE);
			close(fd);
		}
		rounds[own]++;
	}
	return NULL;
}

/* Whether each thread has done another two rounds in time. */
static int go_on(void)
{
	long before[THREADS];

	for (int i = 0; i < THREADS; i++)
		before[i] = rounds[i];
	for (int ms = 0; ms < PATIENCE_MS; ms++) {
		int all = 1;

		for (int i = 0; i < THREADS; i++)
			all &= rounds[i] >= before[i] + 2;
		if (all)
			return 1;
		usleep(1000);
	}
	return 0;
}

static void say(const char *line)
{
	if (write(STDOUT_FILENO, line, strlen(line)) < 0)
		_exit(1);
}

int main(int argc, char **argv)
{
	enum { COUNT = sizeof(allowed) / sizeof(allowed[0]) };
	struct sock_filter filter[2 * COUNT + 2];
	struct sock_fprog program = { 2 * COUNT + 2, filter };
	pthread_t thread;

	if (argc != 2)
		return EXIT_USAGE;
	path = argv[1];
	base = map_shared(open_sized(path, PAGES * PAGE), PAGES * PAGE);
	filter[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
	for (int i = 0; i < COUNT; i++) {
		filter[2 * i + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], 0, 1);
		filter[2 * i + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	filter[2 * COUNT + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread, NULL, works, (void *)(intptr_t)i);
	say(go_on() ? "threads work\n" : "threads hang\n");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
		setup_failed("seccomp");
	say(go_on() ? "threads work\n" : "threads hang\n");
	_exit(0);
}
