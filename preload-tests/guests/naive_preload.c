/*
 * The least that an LD_PRELOAD library can do: every call is looked up once and
 * passed on. What the shim is compared with where nothing is tracked.
 */
#include "guest.h"
#include <dlfcn.h>
#include <sys/uio.h>

#define PASS(result, name, parameters, arguments)                          \
	result name parameters                                             \
	{                                                                  \
		static result(*next) parameters;                           \
		if (!next)                                                 \
			next = (result(*) parameters)dlsym(RTLD_NEXT, #name); \
		return next arguments;                                     \
	}

PASS(ssize_t, __read_chk, (int fd, void *to, size_t n, size_t size), (fd, to, n, size))
PASS(ssize_t, __pread64_chk, (int fd, void *to, size_t n, off_t at, size_t size),
     (fd, to, n, at, size))
PASS(ssize_t, readv, (int fd, const struct iovec *to, int n), (fd, to, n))
PASS(void *, mmap64, (void *addr, size_t n, int prot, int flags, int fd, off_t at),
     (addr, n, prot, flags, fd, at))
PASS(int, munmap, (void *addr, size_t n), (addr, n))
PASS(int, msync, (void *addr, size_t n, int flags), (addr, n, flags))
