/*
 * Runs a program whose standard error is something that nobody reads, and that has little room left, or
 * (closed) a pipe whose other end is closed.
 *
 * usage: unread pipe|socket|terminal|closed PROGRAM ARGS...
 */
#include "guest.h"
#include <sys/socket.h>

enum { ROOM = 2 * PAGE };

static int pipe_end(void)
{
	int ends[2];

	if (pipe(ends) != 0 || fcntl(ends[1], F_SETPIPE_SZ, ROOM) < 0)
		setup_failed("pipe");
	return ends[1];
}

static int closed_end(void)
{
	int ends[2];

	if (pipe(ends) != 0)
		setup_failed("pipe");
	close(ends[0]);
	return ends[1];
}

static int socket_end(void)
{
	int ends[2], room = ROOM;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0 ||
	    setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) != 0)
		setup_failed("socketpair");
	return ends[1];
}

/* Filled, and then a part of it read. */
static int terminal_end(void)
{
	char bytes[ROOM];
	int left = ROOM, count;
	int master = posix_openpt(O_RDWR | O_NOCTTY), full, end;

	memset(bytes, '.', sizeof(bytes));
	if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0)
		setup_failed("terminal");
	full = open(ptsname(master), O_WRONLY | O_NOCTTY | O_NONBLOCK);
	end = open(ptsname(master), O_WRONLY | O_NOCTTY);
	if (full < 0 || end < 0)
		setup_failed("open of the terminal");
	while (write(full, bytes, sizeof(bytes)) > 0)
		;
	close(full);
	while (left > 0 && (count = read(master, bytes, left)) > 0)
		left -= count;
	return end;
}

int main(int argc, char **argv)
{
	int end;

	if (argc < 3)
		return EXIT_USAGE;
	if (strcmp(argv[1], "pipe") == 0)
		end = pipe_end();
	else if (strcmp(argv[1], "socket") == 0)
		end = socket_end();
	else if (strcmp(argv[1], "terminal") == 0)
		end = terminal_end();
	else if (strcmp(argv[1], "closed") == 0)
		end = closed_end();
	else
		return EXIT_USAGE;
	/* The other end, if it is open, stays open in the program. */
	if (dup2(end, 2) != 2)
		setup_failed("dup2");
	close(end);
	execv(argv[2], argv + 2);
	setup_failed("exec %s", argv[2]);
}
