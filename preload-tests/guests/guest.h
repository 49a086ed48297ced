/*
 * What every guest needs. Guests are ordinary programs: they know nothing of
 * the shim, print what they see, and let the test compare.
 */
#ifndef GUEST_H
#define GUEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The size of the pages where the guest runs, which its compiler is told. */
#ifndef PAGE
#define PAGE 4096
#endif

enum { EXIT_SETUP = 2, EXIT_USAGE = 64 };

/* Name of an errno value; "0" for none. */
static inline const char *errname(int e)
{
#ifdef __GLIBC__
	const char *name = e ? strerrorname_np(e) : "0";
	return name ? name : "?";
#else
	return e ? strerror(e) : "0";
#endif
}

/* A step that the case needs could not be done: says which, exits 2. */
__attribute__((noreturn, format(printf, 1, 2)))
static inline void setup_failed(const char *format, ...)
{
	int e = errno;
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, ": %s\n", errname(e));
	exit(EXIT_SETUP);
}

/* fork(2) past the C library; AArch64 has only clone(2). */
static inline pid_t raw_fork(void)
{
#ifdef SYS_fork
	return syscall(SYS_fork);
#else
	return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
#endif
}

/* Opens (creating) a file of exactly `size` bytes for reading and writing. */
static inline int open_sized(const char *path, off_t size)
{
	int fd = open(path, O_RDWR | O_CREAT, 0644);

	if (fd < 0)
		setup_failed("open %s", path);
	if (ftruncate(fd, size) != 0)
		setup_failed("ftruncate %s", path);
	return fd;
}

/* A new file of so many pages, each full of 'o', on the disk. */
static inline int open_filled(const char *path, int pages)
{
	int fd = open_sized(path, 0);
	char page[PAGE];

	memset(page, 'o', sizeof(page));
	for (int i = 0; i < pages; i++)
		if (write(fd, page, sizeof(page)) != sizeof(page))
			setup_failed("write");
	if (fsync(fd) != 0)
		setup_failed("fsync");
	return fd;
}

/* The same as open_sized, with blocks for all of it. */
static inline int open_allocated(const char *path, off_t size)
{
	int fd = open_sized(path, size);

	errno = posix_fallocate(fd, 0, size);
	if (errno != 0)
		setup_failed("posix_fallocate %s", path);
	return fd;
}

/* Reads from the file at `path`, opened anew; says how much. */
static inline ssize_t read_anew(const char *path, void *into, size_t length, off_t at)
{
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = pread(fd, into, length, at);
	close(fd);
	return n;
}

static inline void *map_shared(int fd, size_t length)
{
	void *base = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		setup_failed("mmap");
	return base;
}

/* One round of what the shim looks at: map, store, sync, unmap. Returns what msync did. */
static inline int store_and_sync(int fd, size_t length, char byte)
{
	char *base = map_shared(fd, length);
	int result;

	for (size_t at = 0; at < length; at += PAGE)
		base[at] = byte;
	result = msync(base, length, MS_SYNC);
	munmap(base, length);
	return result;
}

/* msync of a whole mapping; prints `msync ERRNO`. Returns what msync did. */
static inline int sync_and_tell(char *base, size_t length)
{
	int result = msync(base, length, MS_SYNC);

	printf("msync %s\n", errname(result == 0 ? 0 : errno));
	return result;
}

static inline double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

#endif
