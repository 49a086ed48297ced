/*
 * usage: lacks FILE CASE
 * Stores and msyncs where what the shim does beside that is not as usual: the thread that maps first has a deadline
 * (`deadline`); the file uses up what may be locked in memory (`locked`); a fork child has no other way to a file that
 * is closed and deleted than its mapping (`deleted`); a child is made past the fork handlers (`_Fork`, `clone`), or the
 * mount namespace is entered past the C library's function (`setns`). Prints what the calls return.
 */
#include "guest.h"
#include <sched.h>
#include <sys/resource.h>

enum { LENGTH = 4 * PAGE, USER = 65534 };

/* struct sched_attr, which glibc has since 2.41. */
struct policy {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static void have_deadline(void)
{
	struct policy policy = { sizeof(policy), 6, 0, 0, 0, 20000000, 50000000, 50000000 };

	if (syscall(SYS_sched_setattr, 0, &policy, 0) != 0)
		setup_failed("sched_setattr");
}

static void tell_policy(void)
{
	struct policy policy = { 0 };

	syscall(SYS_sched_getattr, 0, &policy, sizeof(policy), 0);
	printf("policy %u flags %llu runtime %llu\n", policy.policy,
	       (unsigned long long)policy.flags, (unsigned long long)policy.runtime);
}

static void lock_little(void)
{
	struct rlimit limit = { 5 * PAGE, 5 * PAGE };

	if (setresgid(USER, USER, USER) != 0 || setresuid(USER, USER, USER) != 0 ||
	    setrlimit(RLIMIT_MEMLOCK, &limit) != 0)
		setup_failed("limit");
}

static int store_twice(char *base)
{
	base[0] = 'n';
	sync_and_tell(base, LENGTH);
	base[PAGE] = 'n';
	return sync_and_tell(base, LENGTH);
}

static void in_child(const char *how, char *base)
{
	pid_t child;
	int status;

	fflush(stdout);
	if (strcmp(how, "_Fork") == 0)
		child = _Fork();
	else if (strcmp(how, "clone") == 0)
		child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	else
		child = fork();
	if (child == 0) {
		store_twice(base);
		fflush(stdout);
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		setup_failed("the child");
}

int main(int argc, char **argv)
{
	const char *how = argv[2];
	int fd;
	char *base;

	if (argc != 3)
		return EXIT_USAGE;
	fd = open_sized(argv[1], LENGTH);
	if (strcmp(how, "deadline") == 0)
		have_deadline();
	if (strcmp(how, "locked") == 0)
		lock_little();
	base = map_shared(fd, LENGTH);
	if (strcmp(how, "deleted") == 0) {
		close(fd);
		unlink(argv[1]);
		in_child("fork", base);
		return 0;
	}
	if (strcmp(how, "_Fork") == 0 || strcmp(how, "clone") == 0) {
		base[2 * PAGE] = 'n';
		in_child(how, base);
		return 0;
	}
	store_twice(base);
	if (strcmp(how, "deadline") == 0)
		tell_policy();
	if (strcmp(how, "locked") == 0) {
		printf("mlock %s\n", errname(mlock(base, LENGTH) == 0 ? 0 : errno));
		store_twice(base);
	}
	if (strcmp(how, "setns") == 0) {
		int space = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);

		printf("setns %s\n", errname(syscall(SYS_setns, space, CLONE_NEWNS) == 0 ? 0 : errno));
		store_twice(base);
	}
	return 0;
}
