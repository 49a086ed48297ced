/*
 * usage: alone FILE HOW
 * A program that stores to a mapping and syncs it, and then counts what there is of it besides itself,
 * or ends in one of many ways.
 */
#include "guest.h"
#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/syscall.h>

enum { LENGTH = 16 * PAGE };

static const char *path;
static int fd;
static char *base;

static int tasks(void)
{
	struct stat task;

	if (stat("/proc/self/task", &task) != 0)
		setup_failed("/proc/self/task");
	return (int)task.st_nlink - 2;
}

/* A child that is named as a helper of the shim's; 0 is none. */
static pid_t helper(void)
{
	char name[300], comm[64];
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	pid_t child, found = 0;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		FILE *children, *file;

		snprintf(name, sizeof(name), "/proc/self/task/%s/children", entry->d_name);
		if (entry->d_name[0] == '.' || (children = fopen(name, "r")) == NULL)
			continue;
		while (fscanf(children, "%d", &child) == 1) {
			snprintf(name, sizeof(name), "/proc/%d/comm", child);
			if ((file = fopen(name, "r")) == NULL)
				continue;
			if (fgets(comm, sizeof(comm), file) != NULL && strcmp(comm, "keepmydata\n") == 0)
				found = child;
			fclose(file);
		}
		fclose(children);
	}
	closedir(dir);
	return found;
}

static void count(void)
{
	int status, result;

	printf("tasks %d\n", tasks());
	result = waitpid(-1, &status, 0);
	printf("waitpid %d %s\n", result, errname(errno));
	printf("wait for any but threads: %d\n", waitid(P_ALL, 0, NULL, WEXITED));
	result = unshare(CLONE_NEWUSER);
	printf("unshare(CLONE_NEWUSER) %d %s\n", result, errname(result ? errno : 0));
	base[0]++;
	printf("msync %d\n", msync(base, LENGTH, MS_SYNC));
	printf("tasks %d\n", tasks());
}

/* The group of a process that has left it is empty. */
static void groups(void)
{
	int status;
	pid_t group;

	fflush(stdout);
	if ((group = fork()) == 0) {
		setpgid(0, 0);
		base[0]++;
		printf("in a group: msync %d\n", msync(base, LENGTH, MS_SYNC));
		if (fork() == 0) {
			setpgid(0, getppid());
			base[1]++;
			printf("another: msync %d\n", msync(base, LENGTH, MS_SYNC));
			fflush(stdout);
			setpgid(0, 0);
			printf("its group: %d %s\n", kill(-getppid(), 0), errname(errno = 0));
			fflush(stdout);
			_exit(0);
		}
		wait(&status);
		setpgid(0, getppid());
		status = kill(-getpid(), 0);
		printf("the group that was left: %d %s\n", status, errname(errno));
		fflush(stdout);
		_exit(0);
	}
	waitpid(group, &status, 0);
	printf("status %d\n", status);
}

static void *executes(void *unused)
{
	execl("/bin/true", "true", (char *)NULL);
	_exit(3);
	return unused;
}

static void *outlives(void *unused)
{
	usleep(300000);
	printf("after the main thread's end: %d\n", store_and_sync(fd, LENGTH, 'z'));
	fflush(stdout);
	_exit(0);
	return unused;
}

/* Children with much memory and a lock on a file that they have mapped are killed: is the file free long before the
 * memory can be? The best of some rounds, on a machine that does other things. */
static void large(void)
{
	enum { ROUNDS = 5 };
	const size_t much = (size_t)128 << 20;
	double best = 1e9, memory = 1e9;

	munmap(base, LENGTH);
	for (int i = 0; i < ROUNDS; i++) {
		double begin;
		pid_t child;
		int ready[2], own;
		char byte, *all = mmap(NULL, much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		madvise(all, much, MADV_NOHUGEPAGE);
		if (all == MAP_FAILED || pipe(ready) != 0 || (child = fork()) < 0)
			setup_failed("child");
		memset(all, 1, much);
		if (child == 0) {
			own = open(path, O_RDWR);
			if (flock(own, LOCK_EX) != 0 || store_and_sync(own, LENGTH, 'l') != 0)
				_exit(1);
			*(char *)map_shared(own, LENGTH) = 'm';
			if (write(ready[1], "r", 1) != 1)
				_exit(1);
			for (;;)
				pause();
		}
		begin = seconds_now();
		munmap(all, much);
		memory = seconds_now() - begin < memory ? seconds_now() - begin : memory;
		if (read(ready[0], &byte, 1) != 1)
			setup_failed("ready");
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		begin = seconds_now();
		own = open(path, O_RDWR);
		if (flock(own, LOCK_EX) != 0)
			setup_failed("flock");
		best = seconds_now() - begin < best ? seconds_now() - begin : best;
		close(own);
		close(ready[0]);
		close(ready[1]);
	}
	fprintf(stderr, "free after %.0f us, memory %.0f us\n", best * 1e6, memory * 1e6);
	printf("free: %s\n", best < memory / 2 ? "soon" : "late");
}

/* Threads that sync all the time while the process ends. */
static void *syncs(void *number)
{
	intptr_t n = (intptr_t)number;

	for (;;) {
		base[n * PAGE]++;
		msync(base, LENGTH, MS_SYNC);
	}
	return NULL;
}

static void beside_syncs(void)
{
	pthread_t thread;

	for (intptr_t n = 0; n < 3; n++)
		pthread_create(&thread, NULL, syncs, (void *)n);
	usleep(5000 + getpid() % 10 * 500);
}

/* A thread whose end the helper waits for, too, and longer than who joins it does. */
static int joined[2];

static void *is_joined(void *unused)
{
	printf("in a thread: %d\n", store_and_sync(fd, LENGTH, 'j'));
	fflush(stdout);
	usleep(100000);
	if (write(joined[1], "j", 1) != 1)
		setup_failed("pipe");
	usleep(200000);
	return unused;
}

static void joins(void)
{
	pthread_t thread;
	int status;
	pid_t child;
	char byte;

	if (pipe(joined) != 0 || (child = fork()) < 0)
		setup_failed("fork");
	if (child == 0) {
		alarm(5);
		pthread_create(&thread, NULL, is_joined, NULL);
		if (read(joined[0], &byte, 1) != 1)
			setup_failed("pipe");
		printf("joined: %d\n", pthread_join(thread, NULL));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, &status, 0);
	printf("status %d\n", status);
}

static pthread_t main_thread;

static void *joins_main(void *unused)
{
	alarm(5);
	usleep(100000);
	printf("joined the main thread: %d\n", pthread_join(main_thread, NULL));
	fflush(stdout);
	_exit(0);
	return unused;
}

/* A thread of real-time priority that keeps its CPU for itself, having mapped the file first. */
static volatile int spins, stop;
static pthread_barrier_t started;

static void *inherits(void *asked)
{
	*(volatile int *)asked = 1;
	return NULL;
}

static void *pinned(void *cpu)
{
	struct sched_param first = { .sched_priority = 1 };
	static volatile int ran;
	cpu_set_t one;
	pthread_t thread;
	struct timespec begin, now;

	CPU_ZERO(&one);
	CPU_SET((intptr_t)cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one) != 0)
		setup_failed("sched_setaffinity");
	base = map_shared(fd, LENGTH);
	base[0]++;
	msync(base, LENGTH, MS_SYNC);
	if (sched_setscheduler(0, SCHED_FIFO, &first) != 0)
		setup_failed("sched_setscheduler");
	/* What a thread that inherits does meanwhile: nothing. */
	pthread_create(&thread, NULL, inherits, (void *)&ran);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while (now.tv_sec * 1000 + now.tv_nsec / 1000000 < begin.tv_sec * 1000 + begin.tv_nsec / 1000000 + 300);
	printf("a thread that inherits ran: %d\n", ran);
	spins = 1;
	pthread_barrier_wait(&started);
	while (!stop)
		;
	pthread_join(thread, NULL);
	return NULL;
}

static void real_time(void)
{
	pthread_t thread;
	cpu_set_t all;
	long best = -1;
	int cpu;

	if (sched_getaffinity(0, sizeof(all), &all) != 0 || CPU_COUNT(&all) < 2)
		setup_failed("two CPUs");
	for (cpu = 0; !CPU_ISSET(cpu, &all); cpu++)
		;
	pthread_barrier_init(&started, NULL, 2);
	pthread_create(&thread, NULL, pinned, (void *)(intptr_t)cpu);
	pthread_barrier_wait(&started);
	CPU_CLR(cpu, &all);
	if (sched_setaffinity(0, sizeof(all), &all) != 0)
		setup_failed("sched_setaffinity");
	for (int i = 0; i < 20; i++) {
		struct timespec begin, end;
		long us;

		base[i * PAGE % LENGTH]++;
		clock_gettime(CLOCK_MONOTONIC, &begin);
		msync(base, LENGTH, MS_SYNC);
		clock_gettime(CLOCK_MONOTONIC, &end);
		us = (end.tv_sec - begin.tv_sec) * 1000000 + (end.tv_nsec - begin.tv_nsec) / 1000;
		best = best < 0 || us < best ? us : best;
	}
	stop = 1;
	pthread_join(thread, NULL);
	fprintf(stderr, "best %ld us\n", best);
	printf("msync beside it: %s\n", best < 100000 ? "at once" : "late");
}

/* Whether reading has moved the access time. */
static void access_time(void)
{
	struct stat before, after;
	char byte;

	fstat(fd, &before);
	for (int i = 0; i < 3; i++) {
		usleep(20000);
		base[i * PAGE]++;
		msync(base, LENGTH, MS_SYNC);
	}
	fstat(fd, &after);
	printf("msync moves it: %d\n", memcmp(&before.st_atim, &after.st_atim, sizeof(after.st_atim)) != 0);
	usleep(20000);
	if (pread(fd, &byte, 1, 0) != 1)
		setup_failed("pread");
	fstat(fd, &after);
	printf("a read moves it: %d\n", memcmp(&before.st_atim, &after.st_atim, sizeof(after.st_atim)) != 0);
}

/* How often the first thread of process `pid` has slept, or all others have. */
static long sleeps(pid_t pid, bool first)
{
	char name[300], line[256];
	struct dirent *entry;
	long count, all = 0;
	DIR *dir;

	snprintf(name, sizeof(name), "/proc/%d/task", pid);
	dir = opendir(name);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		FILE *status;

		snprintf(name, sizeof(name), "/proc/%d/task/%s/status", pid, entry->d_name);
		if (entry->d_name[0] == '.' || (atoi(entry->d_name) == pid) != first ||
		    (status = fopen(name, "r")) == NULL)
			continue;
		while (fgets(line, sizeof(line), status) != NULL)
			if (sscanf(line, "voluntary_ctxt_switches: %ld", &count) == 1)
				all += count;
		fclose(status);
	}
	return all;
}

int main(int argc, char **argv)
{
	char *const none[] = { "true", NULL };
	pthread_t thread;

	if (argc != 3)
		return EXIT_USAGE;
	path = argv[1];
#define HOW(name) (strcmp(argv[2], name) == 0)
	fd = open_sized(path, LENGTH);
	if (HOW("real-time")) {
		real_time();
		return 0;
	}
	if (HOW("reads")) {
		/* Nothing can be stored through it. */
		int readable = open(path, O_RDONLY);

		base = mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, readable, 0);
		printf("read %d, msync %d\n", *(volatile char *)base, msync(base, LENGTH, MS_SYNC));
		printf("helpers %d, tasks %d\n", helper() != 0, tasks());
		munmap(base, LENGTH);
		printf("helpers %d, tasks %d\n", helper() != 0, tasks());
		return 0;
	}
	/* A process that has changed its user is not dumpable: /proc/PID shows it to none of its user. */
	if (HOW("another user first") && setuid(65534) != 0)
		setup_failed("setuid");
	if (HOW("chroot first")) {
		*strrchr(argv[1], '/') = 0;
		if (chroot(argv[1]) != 0 || chdir("/") != 0)
			setup_failed("chroot");
	}
	base = map_shared(fd, LENGTH);
	base[0]++;
	printf("msync %d\n", msync(base, LENGTH, MS_SYNC));
	fflush(stdout);
	if (HOW("another user first")) {
		printf("tasks %d\n", tasks());
	} else if (HOW("another user later")) {
		char later[4096];
		int other;

		snprintf(later, sizeof(later), "%s.later", path);
		other = open_sized(later, LENGTH);
		if (setuid(65534) != 0)
			setup_failed("setuid");
		printf("before: %d\n", store_and_sync(fd, LENGTH, 'b'));
		printf("later: %d\n", store_and_sync(other, LENGTH, 'l'));
		printf("tasks %d\n", tasks());
	} else if (HOW("count")) {
		count();
	} else if (HOW("groups")) {
		groups();
	} else if (HOW("helpers")) {
		printf("helpers %d, tasks %d\n", helper() != 0, tasks());
	} else if (HOW("many syncs")) {
		for (int i = 0; i < 50; i++) {
			base[0]++;
			msync(base, LENGTH, MS_SYNC);
		}
		printf("helper's threads have slept: %ld first, %ld others\n", sleeps(helper(), true),
		       sleeps(helper(), false));
	} else if (HOW("unmapped")) {
		munmap(base, LENGTH);
		printf("unshare %d\n", unshare(CLONE_NEWUTS));
	} else if (HOW("access-time")) {
		access_time();
	} else if (HOW("_exit")) {
		_exit(0);
	} else if (HOW("quick_exit")) {
		quick_exit(0);
	} else if (HOW("exec")) {
		execl("/bin/true", "true", (char *)NULL);
	} else if (HOW("exec of nothing")) {
		printf("exec %d %s\n", execl("/nothing", "nothing", (char *)NULL), errname(errno));
		printf("msync %d\n", store_and_sync(fd, LENGTH, 'n'));
	} else if (HOW("exec by a raw call")) {
		syscall(SYS_execve, "/bin/true", none, none + 1);
	} else if (HOW("exit by a raw call")) {
		syscall(SYS_exit_group, 0);
	} else if (HOW("killed")) {
		raise(SIGKILL);
	} else if (HOW("abort")) {
		signal(SIGABRT, SIG_DFL);
		abort();
	} else if (HOW("exec by a thread")) {
		pthread_create(&thread, NULL, executes, NULL);
		pause();
	} else if (HOW("end of the main thread")) {
		pthread_create(&thread, NULL, outlives, NULL);
		pthread_exit(NULL);
	} else if (HOW("join")) {
		joins();
	} else if (HOW("join of the main thread")) {
		main_thread = pthread_self();
		pthread_create(&thread, NULL, joins_main, NULL);
		usleep(300000);
		pthread_exit(NULL);
	} else if (HOW("large")) {
		large();
	} else if (HOW("exit beside msync")) {
		beside_syncs();
	} else if (HOW("exec beside msync")) {
		beside_syncs();
		execl("/bin/true", "true", (char *)NULL);
	} else if (HOW("daemon")) {
		if (fork() != 0)
			_exit(0);
		setsid();
		base[1]++;
		_exit(msync(base, LENGTH, MS_SYNC) != 0);
	} else if (HOW("kill the helper at work")) {
		pid_t of_helper = helper();

		if (fork() == 0) {
			usleep(1000000);
			kill(of_helper, SIGKILL);
			_exit(0);
		}
		base[0]++;
		printf("msync %d\n", msync(base, LENGTH, MS_SYNC));
	} else if (HOW("kill the helper") || HOW("kill the helper before setuid")) {
		kill(helper(), SIGKILL);
		if (HOW("kill the helper before setuid"))
			printf("setuid %d\n", setuid(65534));
		base[0]++;
		printf("msync %d\n", msync(base, LENGTH, MS_SYNC));
		printf("helpers %d\n", helper() != 0);
	}
	return 0;
}
