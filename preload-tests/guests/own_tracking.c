/*
 * A program that tracks its own stores: userfaultfd(2), asynchronous write protection, and
 * PAGEMAP_SCAN, over a mapping that was stored to and synced before.
 *
 * usage: own_tracking FILE
 * Prints what each call answers, which pages the scan finds stored to, and what the file holds after
 * each msync.
 */
#include "guest.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

enum { PAGES = 64, LENGTH = PAGES * PAGE };

/* include/uapi/linux/userfaultfd.h and fs.h of Linux 6.7, which Debian 12 does not have. */
enum { WP_UNPOPULATED = 1 << 13, WP_ASYNC = 1 << 15 };

struct page_region { uint64_t start, end, categories; };

struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, any, returned;
};

#define SCAN _IOWR('f', 16, struct scan)
#define IS_WRITTEN 2

static char *base;
static int fd, other;

static const char *answer(int result)
{
	return errname(result >= 0 ? 0 : errno);
}

static void print_stored(int pagemap)
{
	struct page_region found[PAGES];
	struct scan scan = {
		.size = sizeof(scan),
		.start = (uintptr_t)base,
		.end = (uintptr_t)base + PAGES * PAGE,
		.vec = (uintptr_t)found,
		.vec_len = PAGES,
		.mask = IS_WRITTEN,
		.returned = IS_WRITTEN,
	};
	int count = ioctl(pagemap, SCAN, &scan);

	printf("scan %s:", answer(count));
	for (int i = 0; i < count; i++)
		for (uint64_t at = found[i].start; at < found[i].end; at += PAGE)
			printf(" %ld", (long)(at - (uintptr_t)base) / PAGE);
	printf("\n");
}

static void print_file(void)
{
	char byte;

	printf("file ");
	for (off_t page = 0; page < 12; page++)
		putchar(pread(other, &byte, 1, page * PAGE) == 1 ? byte : '?');
	printf("\n");
}

int main(int argc, char **argv)
{
	struct uffdio_api api = { .api = UFFD_API, .features = WP_ASYNC | WP_UNPOPULATED };
	struct uffdio_register all = { .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect protect = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	int uffd, pagemap;

	if (argc != 2)
		return EXIT_USAGE;
	fd = open_filled(argv[1], PAGES);
	base = map_shared(fd, LENGTH);
	base[1 * PAGE] = 'a';
	sync_and_tell(base, LENGTH);
	/* Stored before, synced after. */
	base[2 * PAGE] = 'b';

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	printf("userfaultfd %s\n", answer(uffd));
	printf("api %s\n", answer(ioctl(uffd, UFFDIO_API, &api)));
	all.range.start = (uintptr_t)base;
	all.range.len = LENGTH;
	protect.range = all.range;
	printf("register %s\n", answer(ioctl(uffd, UFFDIO_REGISTER, &all)));
	printf("protect %s\n", answer(ioctl(uffd, UFFDIO_WRITEPROTECT, &protect)));
	base[4 * PAGE] = 'c';
	base[7 * PAGE] = 'd';
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	print_stored(pagemap);
	sync_and_tell(base, LENGTH);
	other = open(argv[1], O_RDONLY);
	print_file();

	printf("unregister %s\n", answer(ioctl(uffd, UFFDIO_UNREGISTER, &all.range)));
	close(uffd);
	base[9 * PAGE] = 'e';
	sync_and_tell(base, LENGTH);
	print_file();
	printf("bad address %s\n", answer(ioctl(uffd, UFFDIO_REGISTER, NULL)));
	return 0;
}
