/*
 * A process that stores to a page and ends, in each way in which one can.
 *
 * usage: ends FILE HOW
 * usage: ends FILE many COUNT
 *
 * `many` maps and syncs COUNT files, FILE.0 and so on, one after another. Executed (by HOW that begins with
 * exec) it prints its arguments and $ENDS.
 */
#include "guest.h"
#include <spawn.h>

extern char **environ;

static int many(const char *path, int count)
{
	for (int i = 0; i < count; i++) {
		char name[4096];
		int fd;

		snprintf(name, sizeof(name), "%s.%d", path, i);
		fd = open_sized(name, PAGE);
		if (store_and_sync(fd, PAGE, 'm') != 0)
			return 1;
		close(fd);
	}
	return 0;
}

int main(int argc, char **argv)
{
	char *list[] = { argv[0], "1", "2", "3", "4", "5", "6", "7", "8", "9", NULL };
	char *list_env[] = { "ENDS=given", NULL };
	const char *how = argc > 2 ? argv[2] : "";
	char *self = argv[0], *base;
	pid_t child;
	int fd;

	if (argc == 10) {
		const char *given = getenv("ENDS");

		for (int i = 1; i < argc; i++)
			printf("%s ", argv[i]);
		printf("%s\n", given ? given : "-");
		return 0;
	}
	if (argc == 4)
		return many(argv[1], atoi(argv[3]));
	if (argc != 3)
		return EXIT_USAGE;
	fd = open_sized(argv[1], 2 * PAGE);
	base = map_shared(fd, 2 * PAGE);
	base[0] = 'a';
	if (strcmp(how, "return") == 0)
		return 0;
	if (strcmp(how, "exit") == 0)
		exit(0);
	if (strcmp(how, "_exit") == 0)
		_exit(0);
	if (strcmp(how, "_Exit") == 0)
		_Exit(0);
	if (strcmp(how, "quick_exit") == 0)
		quick_exit(0);
	if (strcmp(how, "execl") == 0)
		execl(self, self, "1", "2", "3", "4", "5", "6", "7", "8", "9", NULL);
	if (strcmp(how, "execlp") == 0)
		execlp(self, self, "1", "2", "3", "4", "5", "6", "7", "8", "9", NULL);
	if (strcmp(how, "execle") == 0)
		execle(self, self, "1", "2", "3", "4", "5", "6", "7", "8", "9", NULL, list_env);
	if (strcmp(how, "execv") == 0)
		execv(self, list);
	if (strcmp(how, "execve") == 0)
		execve(self, list, list_env);
	if (strcmp(how, "execvp") == 0)
		execvp(self, list);
	if (strcmp(how, "execvpe") == 0)
		execvpe(self, list, list_env);
	if (strcmp(how, "fexecve") == 0)
		fexecve(open(self, O_RDONLY), list, list_env);
	if (strcmp(how, "exec-fails") == 0) {
		execv("/nowhere", list);
		printf("execv %s\n", errname(errno));
		return 0;
	}
	if (strcmp(how, "children") == 0) {
		/* None of these has anything to tell; the last one has synced a page of its own. */
		if ((child = fork()) == 0)
			_exit(0);
		waitpid(child, NULL, 0);
		if ((child = fork()) == 0)
			exit(0);
		waitpid(child, NULL, 0);
		if ((child = vfork()) == 0) {
			execv("/bin/true", list);
			_exit(1);
		}
		waitpid(child, NULL, 0);
		if ((child = vfork()) == 0)
			_exit(0);
		waitpid(child, NULL, 0);
		if (posix_spawn(&child, "/bin/true", NULL, NULL, list, environ) != 0)
			return 1;
		waitpid(child, NULL, 0);
		if ((child = fork()) == 0) {
			base[PAGE] = 'c';
			_exit(msync(base, 2 * PAGE, MS_SYNC) != 0);
		}
		waitpid(child, NULL, 0);
		return msync(base, 2 * PAGE, MS_SYNC) != 0;
	}
	return EXIT_USAGE;
}
