/*
 * An LD_PRELOAD library: fsync makes a file beside the one that is synced, with `.told` after its name, once the kernel has
 * returned, and comes back a while later. So others can act in between.
 */
#include "guest.h"

int fsync(int fd)
{
	int result = syscall(SYS_fsync, fd), e = errno;
	char link[64], path[4096];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 6);
	if (length > 0) {
		strcpy(path + length, ".told");
		syscall(SYS_close, syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT, 0644));
	}
	usleep(300000);
	errno = e;
	return result;
}
