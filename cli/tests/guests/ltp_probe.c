/*
 * Tells how it was started. With an argument: ends in that way.
 */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_preloaded(void)
{
	char line[4096];
	FILE *maps = fopen("/proc/self/maps", "r");

	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "libkeepmydata.so"))
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	char directory[PATH_MAX];

	printf("%s preloaded=%d\n", strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0],
	       is_preloaded());
	if (argc == 1) {
		printf("LTPROOT=%s\nPATH=%s\ncwd=%s\n", getenv("LTPROOT"), getenv("PATH"),
		       getcwd(directory, sizeof(directory)));
		return 0;
	}
	fflush(stdout);
	/* As LTP's library runs a test: in a process group of its own. */
	if (strcmp(argv[1], "hang") == 0 && fork() == 0)
		setpgid(0, 0);
	if (strcmp(argv[1], "hang") == 0)
		for (;;)
			pause();
	if (strcmp(argv[1], "abort") == 0)
		abort();
	printf("probe 1 %s: said so\n", argv[1]);
	return atoi(argv[2]);
}
