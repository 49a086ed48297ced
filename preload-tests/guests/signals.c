/*
 * usage: signals FILE SECONDS handler|jump MICROSECONDS
 * A signal in each such interval, every other time SIGSYS, against a main thread in malloc, mmap, msync and munmap. Their
 * handler calls read, pread, msync and munmap (`handler`), or jumps out of
 * whatever it interrupted (`jump`).
 */
#include "guest.h"
#include <setjmp.h>
#include <sys/time.h>

enum { LENGTH = 64 * PAGE, HANDLER_PAGE = 63 };

static int fd, pipe_fds[2];
static char *shared;
static char *volatile to_unmap;
static volatile unsigned long handled, failures;
static volatile sig_atomic_t may_jump;
static sigjmp_buf out;

static void in_handler(int signal)
{
	int saved = errno;
	char byte, *mapping = __atomic_exchange_n(&to_unmap, NULL, __ATOMIC_ACQ_REL);

	(void)signal;
	handled++;
	shared[HANDLER_PAGE * PAGE] = handled;
	failures += msync(shared, LENGTH, MS_SYNC) != 0;
	failures += pread(fd, &byte, 1, HANDLER_PAGE * PAGE) != 1;
	failures += byte != shared[HANDLER_PAGE * PAGE];
	failures += read(pipe_fds[0], &byte, 1) != -1 || errno != EAGAIN;
	if (mapping != NULL)
		failures += munmap(mapping, LENGTH) != 0;
	errno = saved;
}

static void jump_out(int signal)
{
	(void)signal;
	if (may_jump) {
		may_jump = 0;
		handled++;
		siglongjmp(out, 1);
	}
}

static void work_with_handler(double end)
{
	void *blocks[64] = { NULL };

	for (unsigned long round = 0; seconds_now() < end; round++) {
		char *base = map_shared(fd, LENGTH), byte;

		free(blocks[round % 64]);
		blocks[round % 64] = malloc(1 + round * 7919 % 300000);
		base[round % 60 * PAGE] = round;
		failures += msync(base, LENGTH, MS_SYNC) != 0;
		failures += pread(fd, &byte, 1, round % 60 * PAGE) != 1;
		failures += byte != (char)round;
		if (round % 2)
			failures += munmap(base, LENGTH) != 0;
		else if ((base = __atomic_exchange_n(&to_unmap, base, __ATOMIC_ACQ_REL)) != NULL)
			failures += munmap(base, LENGTH) != 0;
	}
}

/* Jumps leave mappings behind: they are kept at one place by MAP_FIXED. */
static void work_with_jumps(double end)
{
	static char *place;
	static volatile unsigned long round;
	char byte;

	place = mmap(NULL, LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sigsetjmp(out, 1);
	while (seconds_now() < end) {
		round++;
		may_jump = 1;
		mmap(place, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
		place[round % 60 * PAGE] = round;
		msync(place, LENGTH, MS_SYNC);
		if (pread(fd, &byte, 1, round % 60 * PAGE) < 0)
			break;
		munmap(place, LENGTH);
		may_jump = 0;
	}
	may_jump = 0;
}

int main(int argc, char **argv)
{
	/* Sandboxes answer system calls by SIGSYS, and so it is not always blocked where others are. */
	const int sent[] = { SIGALRM, SIGSYS };
	struct sigaction action = { .sa_flags = SA_RESTART };
	struct itimerspec every = { { 0, 0 }, { 0, 0 } };
	timer_t timers[2];
	int jump;

	if (argc != 5)
		return EXIT_USAGE;
	every.it_interval.tv_nsec = 2 * atoi(argv[4]) * 1000L;
	jump = strcmp(argv[3], "jump") == 0;
	fd = open_sized(argv[1], LENGTH);
	shared = map_shared(fd, LENGTH);
	if (pipe2(pipe_fds, O_NONBLOCK) != 0)
		setup_failed("pipe2");
	action.sa_handler = jump ? jump_out : in_handler;
	for (int i = 0; i < 2; i++)
		sigaddset(&action.sa_mask, sent[i]);
	for (int i = 0; i < 2; i++) {
		struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = sent[i] };

		every.it_value.tv_nsec = (i + 1) * atoi(argv[4]) * 1000L;
		if (sigaction(sent[i], &action, NULL) != 0 || timer_create(CLOCK_MONOTONIC, &event, &timers[i]) != 0 ||
		    timer_settime(timers[i], 0, &every, NULL) != 0)
			setup_failed("a timer");
	}
	if (jump)
		work_with_jumps(seconds_now() + atof(argv[2]));
	else
		work_with_handler(seconds_now() + atof(argv[2]));
	for (int i = 0; i < 2; i++)
		timer_delete(timers[i]);

	printf("handled %s, failures %lu\n", handled > 20 ? "many" : "too few", failures);
	printf("another round: %d\n", store_and_sync(fd, LENGTH, 'z'));
	fprintf(stderr, "%lu signals\n", handled);
	return 0;
}
