/*
 * usage: stacks FILE
 * The calls on the smallest stacks: threads of PTHREAD_STACK_MIN, and a handler on
 * an alternate stack of what SIGSTKSZ was for thirty years. (On AArch64 the kernel's
 * frame takes five of 16 KiB.) Below each lies a guard page. Prints to stderr how much
 * of the alternate stack was used.
 */
#include "guest.h"
#include <limits.h>
#include <pthread.h>

#ifdef __aarch64__
enum { LENGTH = 16 * PAGE, ALTERNATE = 16384 };
#else
enum { LENGTH = 16 * PAGE, ALTERNATE = 8192 };
#endif

static int fd;
static const char *path;
static volatile int failures;

static void calls(void)
{
	char byte, *base;

	base = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	failures += base == MAP_FAILED;
	for (int i = 0; i < 12; i++) {
		base[0]++;
		failures += msync(base, LENGTH, MS_SYNC) != 0;
	}
	failures += pread(fd, &byte, 1, 0) != 1;
	for (int i = 0; i < 2; i++) {
		base[0]++;
		failures += ftruncate(fd, (16 + i) * PAGE) != 0;
		base[0]++;
		failures += close(open(path, O_RDWR)) != 0;
		base[0]++;
		failures += truncate(path, LENGTH) != 0;
	}
	failures += munmap(base, LENGTH) != 0;
}

static void *in_thread(void *unused)
{
	calls();
	return unused;
}

static void in_handler(int signal)
{
	(void)signal;
	calls();
}

/* Memory with a guard page below it. */
static char *guarded(size_t size)
{
	char *memory = mmap(NULL, size + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || mprotect(memory, PAGE, PROT_NONE) != 0)
		setup_failed("stack");
	return memory + PAGE;
}

int main(int argc, char **argv)
{
	size_t least = (PTHREAD_STACK_MIN + PAGE - 1) / PAGE * PAGE, used;
	struct sigaction action = { .sa_handler = in_handler, .sa_flags = SA_ONSTACK };
	stack_t alternate = { .ss_size = ALTERNATE };
	pthread_attr_t attributes;
	pthread_t thread;
	char *lowest;

	if (argc != 2)
		return EXIT_USAGE;
	path = argv[1];
	fd = open_sized(path, LENGTH);
	/* On an ordinary stack first, so that names are bound. */
	calls();
	pthread_attr_init(&attributes);
	for (int i = 0; i < 10; i++) {
		if (pthread_attr_setstack(&attributes, guarded(least), least) != 0)
			setup_failed("pthread_attr_setstack");
		errno = pthread_create(&thread, &attributes, in_thread, NULL);
		if (errno != 0)
			setup_failed("pthread_create");
		pthread_join(thread, NULL);
	}
	printf("threads: failures %d\n", failures);

	alternate.ss_sp = guarded(ALTERNATE);
	memset(alternate.ss_sp, 0x5a, ALTERNATE);
	if (sigaltstack(&alternate, NULL) != 0)
		setup_failed("sigaltstack");
	sigaction(SIGUSR1, &action, NULL);
	for (int i = 0; i < 10; i++)
		raise(SIGUSR1);
	printf("handler: failures %d\n", failures);
	for (lowest = alternate.ss_sp; *lowest == 0x5a; lowest++)
		;
	used = (char *)alternate.ss_sp + ALTERNATE - lowest;
	fprintf(stderr, "alternate stack: %zu bytes used\n", used);
	return 0;
}
