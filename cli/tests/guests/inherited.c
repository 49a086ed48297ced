/* Prints all that a program inherits from whoever executes it. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
	sigset_t blocked, pending;
	struct sigaction action;

	for (int i = 0; i < argc; i++)
		printf("argument %s\n", argv[i]);
	for (char **entry = environ; *entry; entry++)
		printf("environment %s\n", *entry);

	DIR *directory = opendir("/proc/self/fd");
	for (struct dirent *e; (e = readdir(directory));)
		if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(directory))
			printf("descriptor %s\n", e->d_name);
	closedir(directory);

	sigprocmask(SIG_BLOCK, NULL, &blocked);
	sigpending(&pending);
	for (int signal = 1; signal <= 64; signal++) {
		if (sigismember(&blocked, signal) == 1)
			printf("blocked %d\n", signal);
		if (sigismember(&pending, signal) == 1)
			printf("pending %d\n", signal);
		if (sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			printf("ignored %d\n", signal);
	}

	errno = 0;
	int child = waitpid(-1, NULL, WNOHANG);
	printf("child %d %s\n", child, strerror(errno));
	printf("pid %s\n", getpid() == getsid(0) ? "leads its session" : "does not lead its session");
	return 0;
}
