/*
 * usage: denied FILE before|after|inherited EPERM|ENOSYS|trap|kill
 * Maps FILE, stores and syncs in a sandbox that denies one system call: each in turn, but those that this needs
 * itself. The sandbox is entered before the first mapping, or after a first sync, or by who executes the program; by
 * seccomp(2), which no library has a function for. With `kill` that ends the process. In a PID namespace of its own: what is told to end one process may end no other. With `trap` a
 * handler of SIGSYS answers with ENOSYS, as those of browsers do: where that signal is blocked, the kernel kills.
 */
#include "guest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { LENGTH = 16 * PAGE, MOST = 470, PATIENCE_MS = 20000 };

static const int needed[] = { SYS_write, SYS_mmap, SYS_munmap, SYS_msync, SYS_pread64, SYS_exit_group,
	SYS_rt_sigreturn };
/* What it takes to start a program, with the library in it, and to find out what a filter denies. */
static const int needed_at_start[] = { SYS_prctl, SYS_sched_getaffinity, SYS_gettid, SYS_getpid, SYS_madvise, SYS_fstat,
	SYS_getrandom, SYS_clone, SYS_wait4 };

static const char *path;
static int is_after, is_inherited, is_trap, is_kill, error;
static char said[256];

static void say(const char *what, int result)
{
	size_t at = strlen(said);

	snprintf(said + at, sizeof(said) - at, " %s %s", what, result < 0 ? errname(errno) : "ok");
}

static void answer(int signal, siginfo_t *info, void *context)
{
	mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;

	(void)signal;
	(void)info;
#ifdef __aarch64__
	machine->regs[0] = -ENOSYS;
#else
	machine->gregs[REG_RAX] = -ENOSYS;
#endif
}

static void deny(int call)
{
	const struct sigaction action = { .sa_sigaction = answer, .sa_flags = SA_SIGINFO };
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, is_kill ? SECCOMP_RET_KILL_PROCESS :
					  is_trap ? SECCOMP_RET_TRAP : SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	if (sigaction(SIGSYS, &action, NULL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
		_exit(EXIT_SETUP);
}

static void without(int call)
{
	int fd;
	char *first = NULL, *second, byte;

	if (is_inherited && call >= 0) {
		char *again[] = { "denied", (char *)path, "run", NULL };

		deny(call);
		execv("/proc/self/exe", again);
		_exit(EXIT_SETUP);
	}
	fd = open(path, O_RDWR);

	if (is_after) {
		first = map_shared(fd, LENGTH);
		first[0]++;
		say("msync", msync(first, LENGTH, MS_SYNC));
	}
	if (call >= 0)
		deny(call);
	if (!is_after)
		first = map_shared(fd, LENGTH);
	first[PAGE]++;
	say("msync", msync(first, LENGTH, MS_SYNC));
	second = map_shared(fd, LENGTH);
	second[2 * PAGE]++;
	say("msync", msync(second, LENGTH, MS_SYNC));
	say("munmap", munmap(second, LENGTH));
	say("munmap", munmap(first, LENGTH));
	say("pread", (int)pread(fd, &byte, 1, PAGE));
	if (write(STDOUT_FILENO, said, strlen(said)) < 0)
		_exit(EXIT_SETUP);
	_exit(0);
}

static void each(void)
{
	for (int call = 0; call < MOST; call++) {
		int is_needed = 0, status, waited = 0;
		pid_t child;

		for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
			is_needed |= needed[i] == call;
		for (size_t i = 0; is_inherited && i < sizeof(needed_at_start) / sizeof(needed_at_start[0]); i++)
			is_needed |= needed_at_start[i] == call;
		if (is_needed)
			continue;
		printf("%d:", call);
		fflush(stdout);
		if ((child = fork()) < 0)
			setup_failed("fork");
		if (child == 0)
			without(call);
		while (waitpid(child, &status, WNOHANG) == 0) {
			if (waited++ == PATIENCE_MS) {
				printf(" hangs");
				kill(child, SIGKILL);
			}
			usleep(1000);
		}
		printf(" status %#x\n", status);
	}
	printf("done\n");
}

int main(int argc, char **argv)
{
	int status;
	pid_t child;

	if (argc == 3)
		path = argv[1], without(-1);
	if (argc != 4)
		return EXIT_USAGE;
	path = argv[1];
	is_inherited = strcmp(argv[2], "inherited") == 0;
	is_kill = strcmp(argv[3], "kill") == 0;
	is_after = strcmp(argv[2], "after") == 0;
	is_trap = strcmp(argv[3], "trap") == 0;
	error = strcmp(argv[3], "ENOSYS") == 0 ? ENOSYS : EPERM;
	close(open_sized(path, LENGTH));
	if (unshare(CLONE_NEWPID) != 0 || (child = fork()) < 0)
		setup_failed("a PID namespace");
	if (child == 0) {
		each();
		return 0;
	}
	waitpid(child, &status, 0);
	printf("status %#x\n", status);
	return 0;
}
