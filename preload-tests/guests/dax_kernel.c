/*
 * What the kernel makes of questions after the dirty pages of a mapping.
 *
 * usage: dax_kernel cachestat|writeprotect FILE
 *
 * cachestat     of the mapped file, after a store to each of its pages
 * writeprotect  the first store to a mapping that is registered with a userfaultfd, asynchronously
 *               write-protected where it has no pages yet
 *
 * Prints `answered` once the kernel has; exits 2 where it has no such thing.
 */
#include "guest.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define SYS_CACHESTAT 451

/* Linux 6.7, and 6.4: newer than the headers of Debian 12. */
#define WP_UNPOPULATED (1 << 13)
#define WP_ASYNC (1 << 15)

enum { LENGTH = 64 * PAGE };

static void ask_cachestat(int fd, char *base)
{
	uint64_t range[2] = { 0, 0 }, stat[5];

	for (int at = 0; at < LENGTH; at += PAGE)
		base[at] = 'c';
	if (syscall(SYS_CACHESTAT, fd, range, stat, 0) != 0)
		setup_failed("cachestat");
}

static void write_protect(char *base)
{
	struct uffdio_api api = { .api = UFFD_API, .features = WP_ASYNC | WP_UNPOPULATED };
	struct uffdio_register all = {
		.range = { (uintptr_t)base, LENGTH }, .mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect protect = { .range = all.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) != 0 || ioctl(fd, UFFDIO_REGISTER, &all) != 0 ||
	    ioctl(fd, UFFDIO_WRITEPROTECT, &protect) != 0)
		setup_failed("userfaultfd");
	*(volatile char *)base = 'w';
}

int main(int argc, char **argv)
{
	char *base;
	int fd;

	if (argc != 3)
		return EXIT_USAGE;
	fd = open_sized(argv[2], LENGTH);
	base = map_shared(fd, LENGTH);
	if (strcmp(argv[1], "cachestat") == 0)
		ask_cachestat(fd, base);
	else if (strcmp(argv[1], "writeprotect") == 0)
		write_protect(base);
	else
		return EXIT_USAGE;
	printf("answered\n");
	return 0;
}
