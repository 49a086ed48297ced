/*
 * A page in an otherwise untouched part of a sparse file is stored to, and is gone from the page cache before msync.
 *
 * usage: traces FILE MIB page-out|write
 * The file is of MIB, and mapped; its first page is read, and stays. Then one page in its middle is stored to, and
 * `page-out`: another process has it reclaimed (process_madvise(2), MADV_PAGEOUT); `write`: another process writes the
 * second half of it, and what follows, past the page cache (O_DIRECT). Prints what the page cache knows of the 2 MiB
 * from there on (cachestat(2)): `cached N, evicted N`; whether the first page is mapped as before; and `msync ERRNO`.
 */
#include "guest.h"
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

enum { AROUND = 2 << 20, HALF = PAGE / 2 };

struct cachestat_range { uint64_t off, len; };
struct cachestat { uint64_t cache, dirty, writeback, evicted, recently_evicted; };

/* Has another process page out the page of this one. */
static void page_out(char *page)
{
	pid_t parent = getpid(), child = fork();
	int status;

	if (child == 0) {
		struct iovec range = { page, PAGE };
		int pidfd = (int)syscall(SYS_pidfd_open, parent, 0);

		_exit(syscall(SYS_process_madvise, pidfd, &range, 1, MADV_PAGEOUT, 0) != PAGE);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		setup_failed("process_madvise ended with %#x", status);
}

/* Has a program that knows nothing of this one write from the second half of the page at `offset` on. */
static void write_past(const char *path, off_t offset)
{
	char to[4096], seek[64], size[64];
	char *argv[] = { "dd", "if=/dev/zero", to, seek, size, "count=1", "oflag=direct,seek_bytes", "conv=notrunc",
			 "status=none", NULL };
	char *env[] = { "PATH=/bin:/usr/bin", NULL };
	pid_t child;
	int status;

	snprintf(to, sizeof(to), "of=%s", path);
	snprintf(seek, sizeof(seek), "seek=%lld", (long long)offset + HALF);
	snprintf(size, sizeof(size), "bs=%d", AROUND - HALF);
	if ((errno = posix_spawnp(&child, "dd", NULL, NULL, argv, env)) != 0)
		setup_failed("dd");
	if (waitpid(child, &status, 0) != child || status != 0)
		setup_failed("dd ended with %#x", status);
}

static int is_mapped(const char *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;

	if (fd < 0 || pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)page / PAGE * sizeof(entry))) != sizeof(entry))
		setup_failed("pagemap");
	close(fd);
	return (int)(entry >> 63);
}

int main(int argc, char **argv)
{
	struct cachestat_range around;
	struct cachestat stat;
	off_t size, offset;
	char *base;
	int fd;

	if (argc != 4)
		return EXIT_USAGE;
	size = atol(argv[2]) << 20;
	offset = size / 2;
	fd = open_sized(argv[1], size);
	base = map_shared(fd, size);
	(void)*(volatile char *)base;
	base[offset] = 's';
	if (strcmp(argv[3], "page-out") == 0)
		page_out(base + offset);
	else
		write_past(argv[1], offset);
	around = (struct cachestat_range){ offset, AROUND };
	if (syscall(SYS_cachestat, fd, &around, &stat, 0) != 0)
		setup_failed("cachestat");
	printf("cached %llu, evicted %llu\n", (unsigned long long)stat.cache, (unsigned long long)stat.evicted);
	printf("first page mapped %d\n", is_mapped(base));
	printf("msync %s\n", errname(msync(base, size, MS_SYNC) != 0 ? errno : 0));
	return 0;
}
