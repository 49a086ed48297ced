/*
 * The LD_PRELOAD library that anyone would write: remembers what was mapped with which descriptor,
 * and after each msync syncs that file and throws its cache away. What the shim is measured
 * against; docs/design.md says why the shim does otherwise. With NAIVE_KEEP in the environment the
 * cache stays: the least that two syncs an msync can cost.
 */
#include "guest.h"
#include <dlfcn.h>
#include <stdbool.h>

static struct { char *addr; size_t length; int fd; } maps[200000];
static int count;
static bool keep;

__attribute__((constructor)) static void setup(void)
{
	keep = getenv("NAIVE_KEEP") != NULL;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	static __typeof__(&mmap64) next;

	if (!next)
		next = NEXT(mmap64);
	addr = next(addr, length, prot, flags, fd, offset);
	if (addr != MAP_FAILED && (flags & MAP_SHARED) && fd >= 0) {
		maps[count].addr = addr;
		maps[count].length = length;
		maps[count++].fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	}
	return addr;
}

/* Programs without large-file names, and libraries such as LMDB, call it so. */
__asm__(".globl mmap\n.set mmap, mmap64");

int munmap(void *addr, size_t length)
{
	static __typeof__(&munmap) next;

	if (!next)
		next = NEXT(munmap);
	for (int i = 0; i < count; i++)
		if (maps[i].addr == addr) {
			close(maps[i].fd);
			maps[i] = maps[--count];
			break;
		}
	return next(addr, length);
}

int msync(void *addr, size_t length, int flags)
{
	static __typeof__(&msync) next;

	if (!next)
		next = NEXT(msync);
	int result = next(addr, length, flags);

	for (int i = 0; i < count && result == 0 && (flags & MS_SYNC); i++)
		if ((char *)addr >= maps[i].addr && (char *)addr < maps[i].addr + maps[i].length) {
			result = fdatasync(maps[i].fd);
			if (keep)
				continue;
			madvise(maps[i].addr, maps[i].length, MADV_DONTNEED);
			posix_fadvise(maps[i].fd, 0, 0, POSIX_FADV_DONTNEED);
		}
	return result;
}
