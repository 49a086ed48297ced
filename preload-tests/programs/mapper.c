// Stores through a shared mapping and syncs until it is told to end, for those that look at it.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile sig_atomic_t ends;
char *stored;

static void end(int signal)
{
	(void)signal;
	ends = 1;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = end};
	size_t page = sysconf(_SC_PAGESIZE), size = 16 * page;
	int fd = open(argv[argc - 1], O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, size) || sigaction(SIGTERM, &action, NULL))
		return 1;
	stored = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (stored == MAP_FAILED)
		return 2;
	strcpy(stored, "found");
	if (msync(stored, size, MS_SYNC))
		return 3;
	puts("ready");
	fflush(stdout);
	for (unsigned char i = 0; !ends; i++) {
		stored[2 * page] = i;
		if (msync(stored + 2 * page, page, MS_SYNC))
			return 4;
		usleep(1000);
	}
	return 5;
}
