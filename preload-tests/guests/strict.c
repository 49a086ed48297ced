/*
 * Seccomp's strict mode: read, write and the raw exit, and nothing else.
 *
 * usage: strict FILE prctl|syscall|seccomp|instruction|thread|refused
 *
 * Stores to a mapping of FILE and syncs it; then, in that mode, reads and writes FILE and prints. syscall: enters it by
 * the C library's syscall(2), and so seccomp; instruction: by an instruction of its own. thread: in another thread, after
 * which the first one stores and syncs once more. refused: asks for it in vain (of a filter there is no way back), and
 * then does the same.
 */
#include "guest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static int fd;
static const char *how;

static void tell(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		_exit(EXIT_SETUP);
}

static void filter(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { .len = 1, .filter = &allow };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		setup_failed("seccomp");
}

static long enter_by_instruction(void)
{
#if defined(__x86_64__)
	long result = SYS_seccomp;

	__asm__ volatile("syscall" : "+a"(result) : "D"(SECCOMP_SET_MODE_STRICT), "S"(0), "d"(0) : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long number __asm__("x8") = SYS_seccomp;
	register long result __asm__("x0") = SECCOMP_SET_MODE_STRICT;
	register long flags __asm__("x1") = 0, more __asm__("x2") = 0;

	__asm__ volatile("svc 0" : "+r"(result) : "r"(number), "r"(flags), "r"(more) : "memory");
	return result;
#endif
}

static void *sandboxed(void *unused)
{
	char byte = 0;
	long result;

	if (strcmp(how, "syscall") == 0)
		result = syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
	else if (strcmp(how, "seccomp") == 0)
		result = syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL);
	else if (strcmp(how, "instruction") == 0)
		result = enter_by_instruction();
	else
		result = prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
	tell(result == 0 ? "strict\n" : "refused\n");
	if (read(fd, &byte, 1) != 1 || byte != 's')
		tell("read wrong\n");
	if (write(fd, &byte, 1) != 1)
		tell("not written\n");
	tell("alive\n");
	syscall(SYS_exit, 0);
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	char *base;

	if (argc != 3)
		return EXIT_USAGE;
	how = argv[2];
	fd = open_sized(argv[1], 2 * PAGE);
	base = map_shared(fd, 2 * PAGE);
	base[0] = 's';
	sync_and_tell(base, 2 * PAGE);
	fflush(stdout);
	if (strcmp(how, "refused") == 0)
		filter();
	if (strcmp(how, "thread") != 0)
		sandboxed(NULL);
	if (pthread_create(&thread, NULL, sandboxed, NULL) != 0 || pthread_join(thread, NULL) != 0)
		setup_failed("thread");
	base[PAGE] = 't';
	sync_and_tell(base, 2 * PAGE);
	return 0;
}
