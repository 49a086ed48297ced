/*
 * usage: reads FILE
 * The whole reading family, with a tracked file mapped all the while: results,
 * errno after success and error, partial reads, what the kernel refuses. Prints
 * a line a call.
 */
#include "guest.h"
#include <pty.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { LENGTH = 16 * PAGE, SIZE = LENGTH + 100 };

/* Wrong on purpose; volatile, so that the compiler does not object. */
static volatile int too_many = 5000;
static struct iovec *volatile nowhere = (struct iovec *)1;

static void say(const char *what, ssize_t result)
{
	printf("%s: %zd %s\n", what, result, errname(errno));
	errno = EXDEV;
}

/* Every name that reads, on one descriptor. `where` is ignored by read and readv. */
static void family(const char *kind, int fd, char *to, size_t length, off_t where)
{
	struct iovec parts[2] = { { to, length / 2 }, { to + length / 2, length - length / 2 } };

	printf("-- %s\n", kind);
	errno = EXDEV;
	say("read", read(fd, to, length));
	say("pread", pread(fd, to, length, where));
	say("readv", readv(fd, parts, 2));
	say("preadv", preadv(fd, parts, 2, where));
	say("preadv2", preadv2(fd, parts, 2, where, 0));
	say("preadv2 at the position", preadv2(fd, parts, 2, -1, 0));
	say("preadv2 nowait", preadv2(fd, parts, 2, where, RWF_NOWAIT) >= 0 ? 1 : -1);
	say("preadv2 of unknown flags", preadv2(fd, parts, 2, where, 0x40000000));
	say("pread at a negative offset", pread(fd, to, length, -1));
	say("preadv at a negative offset", preadv(fd, parts, 2, -2));
	say("read of nothing", read(fd, to, 0));
	say("readv of nothing", readv(fd, parts, 0));
	say("readv of too many", readv(fd, parts, too_many));
	say("lseek", lseek(fd, 0, SEEK_CUR));
}

static void sum(const char *what, const char *bytes, size_t length)
{
	unsigned value = 0;

	for (size_t i = 0; i < length; i++)
		value = value * 31 + (unsigned char)bytes[i];
	printf("%s: %08x\n", what, value);
}

int main(int argc, char **argv)
{
	static char buffer[SIZE * 2];
	int fd, other, pair[2], terminal, controller;
	char *base, *wall;

	if (argc != 2)
		return EXIT_USAGE;
	fd = open_sized(argv[1], SIZE);
	base = map_shared(fd, SIZE);
	for (int i = 0; i < SIZE; i++)
		base[i] = i * 7;
	say("msync", msync(base, SIZE, MS_SYNC));

	family("the file", fd, buffer, 10000, 5000);
	sum("bytes", buffer, 10000);
	other = open(argv[1], O_RDONLY);
	family("a fresh descriptor", other, buffer, 10000, 5000);
	sum("bytes", buffer, 10000);
	family("across the end", other, buffer, 10000, SIZE - 50);
	lseek(other, SIZE + 10, SEEK_SET);
	family("past the end", other, buffer, 100, SIZE + 1000);
	lseek(other, 0, SEEK_SET);
	family("into a tracked mapping", other, base + 2 * PAGE + 10, 3 * PAGE, 100);
	sum("mapping", base, SIZE);
	say("msync", msync(base, SIZE, MS_SYNC));
	say("pread", pread(fd, buffer, SIZE, 0));
	sum("file after msync", buffer, SIZE);

	wall = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(wall + PAGE, PAGE);
	family("into nowhere", fd, (char *)1, 100, 0);
	family("into unmapped memory", fd, wall + PAGE, 100, 0);
	lseek(fd, 0, SEEK_SET);
	family("partly into unmapped memory", fd, wall + PAGE - 60, 100, 0);
	mprotect(wall, PAGE, PROT_READ);
	lseek(fd, 0, SEEK_SET);
	family("into read-only memory", fd, wall, 100, 0);
	say("readv from nowhere", readv(fd, nowhere, 2));

	other = open(argv[1], O_WRONLY);
	family("write-only descriptor", other, buffer, 100, 0);
	close(other);
	family("closed descriptor", other, buffer, 100, 0);
	family("descriptor -1", -1, buffer, 100, 0);
	other = open(argv[1], O_PATH);
	family("O_PATH descriptor", other, buffer, 100, 0);
	close(other);
	other = open("/", O_RDONLY | O_DIRECTORY);
	family("directory", other, buffer, 100, 0);
	close(other);
	other = open("/proc/sys/kernel/ostype", O_RDONLY);
	family("/proc", other, buffer, 100, 2);
	close(other);
	other = open("/dev/zero", O_RDONLY);
	family("/dev/zero", other, buffer, 100, 2);
	close(other);

	if (pipe2(pair, O_NONBLOCK) != 0)
		setup_failed("pipe2");
	family("empty pipe", pair[0], buffer, 100, 0);
	if (write(pair[1], "0123456789", 10) != 10)
		setup_failed("write");
	say("read of a part", read(pair[0], buffer, 4));
	family("pipe", pair[0], buffer, 100, 0);
	close(pair[1]);
	family("pipe without writer", pair[0], buffer, 100, 0);

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) != 0)
		setup_failed("socketpair");
	family("empty socket", pair[0], buffer, 100, 0);
	if (send(pair[1], "0123456789", 10, 0) != 10)
		setup_failed("send");
	say("read of a part", read(pair[0], buffer, 4));
	family("socket", pair[0], buffer, 100, 0);

	other = eventfd(3, EFD_NONBLOCK);
	say("eventfd, short buffer", read(other, buffer, 4));
	family("eventfd", other, buffer, 8, 0);

	if (openpty(&controller, &terminal, NULL, NULL, NULL) != 0)
		setup_failed("openpty");
	if (write(controller, "line\nrest", 9) != 9)
		setup_failed("write");
	fcntl(terminal, F_SETFL, O_RDWR | O_NONBLOCK);
	family("terminal", terminal, buffer, 100, 0);
	close(controller);
	family("terminal hung up", terminal, buffer, 100, 0);

	say("msync", msync(base, SIZE, MS_SYNC));
	return 0;
}
