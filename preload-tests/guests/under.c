/*
 * Runs a program where something that a shim might want is missing.
 *
 * usage: under seccomp SYSCALL EPERM|ENOSYS|kill PROGRAM ARGS...
 *        under service PROGRAM ARGS...    with the seccomp filter of a service that ends it at what it does not list
 *        under container PROGRAM ARGS...  with the seccomp profile of a container
 *        under threads-only PROGRAM ARGS...  where clone makes no process that shares memory, as some
 *                                         sandboxes have it
 *        under noproc PROGRAM ARGS...     in a mount namespace without /proc
 *        under nproc UID PROGRAM ARGS...  as that user, who may have no more tasks
 *        under as MEGABYTES PROGRAM ARGS...
 *        under nofile NUMBER PROGRAM ARGS...
 */
#include "guest.h"
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static const struct { const char *name; int number; } calls[] = {
	{ "process_vm_readv", SYS_process_vm_readv },
	{ "userfaultfd", SYS_userfaultfd },
	{ "close_range", 436 },
	{ "pidfd_open", 434 },
	{ "pidfd_getfd", 438 },
	{ "pidfd_send_signal", 424 },
	{ "cachestat", 451 },
	{ "clone", SYS_clone },
	{ "ptrace", SYS_ptrace },
	{ "process_madvise", 440 },
	{ "statx", SYS_statx },
	{ "name_to_handle_at", SYS_name_to_handle_at },
	{ "madvise", SYS_madvise },
	{ "fadvise64", SYS_fadvise64 },
	{ "process_vm_writev", SYS_process_vm_writev },
	{ "mincore", SYS_mincore },
	{ "epoll_ctl", SYS_epoll_ctl },
	{ "fsopen", 430 },
	{ "io_uring_setup", 425 },
	{ "io_uring_enter", 426 },
	{ "io_uring_register", 427 },
};

/* What container engines deny for want of capabilities, or always. */
static const char *const contained[] = {
	"userfaultfd", "process_vm_readv", "process_vm_writev",
	"io_uring_setup", "io_uring_enter", "io_uring_register",
};

/* What systemd 252 lists for no service (SystemCallFilter=@system-service), of what a library may call. */
static const char *const unlisted[] = { "cachestat", "mincore", "pidfd_getfd", "fsopen" };

static void deny(const char *name, unsigned action)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct sock_filter filter[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, action),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

		if (strcmp(calls[i].name, name) != 0)
			continue;
		/* A container's root may without the other, which changes what programs may do. */
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
			return;
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
			setup_failed("seccomp");
		return;
	}
	errno = 0;
	setup_failed("unknown system call %s", name);
}

static unsigned action_of(const char *word)
{
	if (strcmp(word, "kill") == 0)
		return SECCOMP_RET_KILL_PROCESS;
	return SECCOMP_RET_ERRNO | (strcmp(word, "ENOSYS") == 0 ? ENOSYS : EPERM);
}

static void allow_threads_only(void)
{
	enum { SHARES = CLONE_VM | CLONE_THREAD | CLONE_VFORK };
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SHARES),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CLONE_VM, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	/* A container's root may without the other, which changes what programs may do. */
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
		return;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		setup_failed("seccomp");
}

static void limit(int resource, rlim_t value)
{
	struct rlimit limits = { value, value };

	if (setrlimit(resource, &limits) != 0)
		setup_failed("setrlimit");
}

int main(int argc, char **argv)
{
	int next = 3;

	if (argc < 3)
		return EXIT_USAGE;
	if (strcmp(argv[1], "seccomp") == 0 && argc > 4) {
		deny(argv[2], action_of(argv[3]));
		next = 4;
	} else if (strcmp(argv[1], "container") == 0) {
		for (size_t i = 0; i < sizeof(contained) / sizeof(contained[0]); i++)
			deny(contained[i], action_of("EPERM"));
		next = 2;
	} else if (strcmp(argv[1], "service") == 0) {
		for (size_t i = 0; i < sizeof(unlisted) / sizeof(unlisted[0]); i++)
			deny(unlisted[i], action_of("kill"));
		next = 2;
	} else if (strcmp(argv[1], "threads-only") == 0) {
		allow_threads_only();
		next = 2;
	} else if (strcmp(argv[1], "noproc") == 0) {
		if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		    umount2("/proc", MNT_DETACH) != 0)
			setup_failed("mount namespace");
		next = 2;
	} else if (strcmp(argv[1], "nproc") == 0) {
		limit(RLIMIT_NPROC, 1);
		if (setgroups(0, NULL) != 0 || setgid(atoi(argv[2])) != 0 || setuid(atoi(argv[2])) != 0)
			setup_failed("setuid");
	} else if (strcmp(argv[1], "as") == 0) {
		limit(RLIMIT_AS, (rlim_t)atoi(argv[2]) << 20);
	} else if (strcmp(argv[1], "nofile") == 0) {
		limit(RLIMIT_NOFILE, atoi(argv[2]));
	} else {
		return EXIT_USAGE;
	}
	execvp(argv[next], argv + next);
	setup_failed("exec %s", argv[next]);
}
