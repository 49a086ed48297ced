/*
 * usage: moves DIRECTORY secret|nofile|soft-nofile|newpid|setns [NAMESPACE file|any|process]
 * A program that moves away from what the helper needs: to a user who may not open its file, to no descriptors, to
 * where its children are of another PID namespace, to another process's namespace.
 */
#include "guest.h"
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { LENGTH = 8 * PAGE, NOBODY = 65534 };

static char path[4096];
static int fd;
static char *base;

static void say(const char *what, int result)
{
	printf("%s: %s\n", what, result < 0 ? errname(errno) : "ok");
	fflush(stdout);
}

/* Stores to a page of the mapping, and to another of a new mapping; syncs both. */
static void rounds(const char *when, int page)
{
	base[page * PAGE] = 'a' + page;
	printf("%s: ", when);
	say("msync", msync(base, LENGTH, MS_SYNC));
	if (fd >= 0) {
		char *other = map_shared(fd, LENGTH);

		other[page * PAGE + 1] = 'A' + page;
		printf("%s: ", when);
		say("msync of another mapping", msync(other, LENGTH, MS_SYNC));
		munmap(other, LENGTH);
	}
}

static void in_child(const char *who, int page)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		rounds(who, page);
		_exit(0);
	}
	if (child < 0) {
		say("fork", child);
		return;
	}
	waitpid(child, &status, 0);
	printf("status %d\n", status);
}

static void map(void)
{
	base = map_shared(fd, LENGTH);
}

static void secret(void)
{
	char byte;

	if (fchmod(fd, 0600) != 0)
		setup_failed("chmod");
	map();
	rounds("as root", 0);
	if (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
		setup_failed("setuid");
	say("open", open(path, O_RDWR));
	rounds("as nobody", 1);
	in_child("a child of nobody's", 2);
	say("pread", (int)pread(fd, &byte, 1, 0));
	close(fd);
	fd = -1;
	rounds("without a descriptor", 3);
	in_child("a child without a descriptor", 4);
	say("munmap", munmap(base, LENGTH));
}

static void no_descriptors(int is_hard)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 0;
	if (is_hard)
		limit.rlim_max = 0;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		setup_failed("setrlimit");
	say("open", open(path, O_RDWR));
	map();
	rounds("first", 0);
	in_child("a child", 1);
	rounds("again", 2);
	getrlimit(RLIMIT_NOFILE, &limit);
	printf("limit %d\n", (int)limit.rlim_cur);
}

static void new_pids(void)
{
	int status;
	pid_t child;

	if (unshare(CLONE_NEWPID) != 0)
		setup_failed("unshare");
	map();
	rounds("before any child", 0);
	child = fork();
	if (child == 0) {
		/* With it all others of its namespace end. */
		printf("pid %d\n", getpid());
		rounds("the first child", 1);
		in_child("its child", 2);
		rounds("the first child again", 3);
		say("wait for nobody", waitpid(-1, &status, 0));
		_exit(0);
	}
	waitpid(child, &status, 0);
	printf("status %d\n", status);
	rounds("after it", 4);
	say("fork", fork());
	rounds("at the end", 5);
}

static const struct { const char *name; int kind; } namespaces[] = {
	{ "mnt", CLONE_NEWNS }, { "user", CLONE_NEWUSER }, { "pid", CLONE_NEWPID }, { "net", CLONE_NEWNET },
	{ "uts", CLONE_NEWUTS }, { "ipc", CLONE_NEWIPC }, { "cgroup", CLONE_NEWCGROUP },
};

/* Into a namespace of a child's: by its file, by a file of any kind, or by the child itself. */
static void enter(const char *name, const char *how)
{
	char link[64];
	int ready[2], kind = 0, target, status;
	pid_t child;

	for (size_t i = 0; i < sizeof(namespaces) / sizeof(namespaces[0]); i++)
		if (strcmp(name, namespaces[i].name) == 0)
			kind = namespaces[i].kind;
	map();
	rounds("before", 0);
	if (pipe(ready) != 0 || (child = fork()) < 0)
		setup_failed("fork");
	if (child == 0) {
		/* A PID namespace is there when its first process is. */
		if (unshare(kind) != 0 || (kind == CLONE_NEWPID && (child = fork()) < 0))
			_exit(1);
		if ((kind != CLONE_NEWPID || child == 0) && write(ready[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], link, 1) != 1)
		setup_failed("child");
	snprintf(link, sizeof(link), "/proc/%d/ns/%s", child, kind == CLONE_NEWPID ? "pid_for_children" : name);
	target = strcmp(how, "process") == 0 ? (int)syscall(SYS_pidfd_open, child, 0) : open(link, O_RDONLY);
	say("target", target);
	say("setns", setns(target, strcmp(how, "any") == 0 ? 0 : kind));
	rounds("after setns", 1);
	in_child("a child", 2);
	rounds("again", 3);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	rounds("at the end", 4);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return EXIT_USAGE;
	snprintf(path, sizeof(path), "%s/f", argv[1]);
	fd = open_sized(path, LENGTH);
#define HOW(name) (strcmp(argv[2], name) == 0)
	if (HOW("secret"))
		secret();
	else if (HOW("nofile") || HOW("soft-nofile"))
		no_descriptors(HOW("nofile"));
	else if (HOW("newpid"))
		new_pids();
	else if (HOW("setns") && argc == 5)
		enter(argv[3], argv[4]);
	else
		return EXIT_USAGE;
	return 0;
}
