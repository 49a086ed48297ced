/*
 * Stores of which nobody has kept account, each of a way of its own, and a page cache that is dropped before they are
 * synced.
 *
 * usage: unseen FILE HOW [DROP]
 * DROP is what happens between the store and msync: "open" (another process opens the file, which drops its pages on
 * FUSE without KEEP_CACHE), "evict" (another process syncs the file and has what is not mapped evicted), "myself" (this
 * one opens it), "fopen", "freopen", "freopen itself" (it opens it as a stream), "fopen w" (and fills it again),
 * "private" (it maps it so), "remap" (it maps the first two pages anew), "none". Prints `msync ERRNO`, and `held new|old` of what was stored last.
 */
#include "guest.h"
#include <sched.h>
#include <sys/uio.h>
#include <sys/syscall.h>

enum { PAGES = 6, SIZE = PAGES * PAGE, LARGE = 1100 };

static const char *path, *drop;
static char *base;

/* As another program does it: the shim does not see the calls. */
static void by_another(void)
{
	int status = 0;
	pid_t child = raw_fork();

	if (child == 0) {
		int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR);

		if (fd >= 0 && strcmp(drop, "evict") == 0) {
			syscall(SYS_fsync, fd);
			syscall(SYS_fadvise64, fd, 0, 0, POSIX_FADV_DONTNEED);
		}
		syscall(SYS_exit_group, fd < 0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		setup_failed("a child that opens %s", path);
}

static void store(char *at)
{
	memset(at, 'n', PAGE);
}

static void by_stdio(void)
{
	static const char old[SIZE];
	const char *first = strcmp(drop, "freopen") == 0 ? "/dev/null" : path;
	FILE *stream = fopen(first, strstr(drop, " w") ? "w" : "r");

	/* What the first open has dropped is not about the second. */
	if (strcmp(drop, "freopen itself") == 0)
		store(base + 2 * PAGE);
	if (strncmp(drop, "freopen", 7) == 0)
		stream = freopen(strcmp(drop, "freopen") == 0 ? path : NULL, "r", stream);
	if (stream == NULL)
		setup_failed("%s", drop);
	if (strstr(drop, " w") && fwrite(old, sizeof(old), 1, stream) != 1)
		setup_failed("fwrite");
	if (fclose(stream) != 0)
		setup_failed("fclose");
}

static void let_go(void)
{
	int fd;

	if (drop[0] == 'f') {
		by_stdio();
		return;
	}
	if (strcmp(drop, "none") == 0)
		return;
	if (strcmp(drop, "private") == 0) {
		fd = open(path, O_RDONLY);
		store(base + 2 * PAGE);
		if (mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED)
			setup_failed("mmap");
		close(fd);
		return;
	}
	if (strcmp(drop, "remap") == 0) {
		if (remap_file_pages(base, 2 * PAGE, 0, 3, 0) != 0)
			setup_failed("remap_file_pages");
		return;
	}
	if (strcmp(drop, "myself") != 0) {
		by_another();
		return;
	}
	if ((fd = open(path, O_RDWR)) < 0)
		setup_failed("open");
	close(fd);
}

static void tell(int page)
{
	char now[PAGE];
	int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);

	if (pread(fd, now, sizeof(now), (off_t)page * PAGE) != sizeof(now))
		setup_failed("pread");
	printf("held %s\n", now[0] == 'n' && now[PAGE - 1] == 'n' ? "new" : "old");
	fflush(stdout);
	close(fd);
}

static void unmap_in_vfork_child(void)
{
	if (vfork() == 0) {
		munmap(base, SIZE);
		_exit(0);
	}
}

/* In its parent's memory. */
static void map_in_vfork_child(int fd)
{
	if (vfork() == 0) {
		base = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		_exit(0);
	}
}

/* As the C library does it since version 2.36. */
ssize_t process_madvise(int, const struct iovec *, size_t, int, unsigned);
#pragma weak process_madvise

static void page_itself_out(void)
{
	struct iovec all = { .iov_base = base, .iov_len = SIZE };
	int self = syscall(SYS_pidfd_open, getpid(), 0);

	if (process_madvise == NULL || process_madvise(self, &all, 1, 21 /* MADV_PAGEOUT */, 0) != SIZE)
		setup_failed("process_madvise");
	close(self);
	for (size_t at = 0; at < SIZE; at += PAGE)
		*(volatile char *)(base + at);
}

static void drop_and_sync(char *at, size_t length, int page)
{
	let_go();
	sync_and_tell(at, length);
	tell(page);
}

static int in_child(void (*run)(void))
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	if ((child = fork()) == 0) {
		run();
		fflush(stdout);
		exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		setup_failed("fork");
	return status;
}

static void child_stores(void)
{
	store(base + 2 * PAGE);
	drop_and_sync(base, SIZE, 2);
}

static void child_unmaps(void)
{
	char *other;

	store(base + 2 * PAGE);
	let_go();
	other = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, open(path, O_RDWR), 0);
	munmap(base, SIZE);
	sync_and_tell(other, SIZE);
	tell(2);
}

static void child_moves(void)
{
	char *to = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	store(base + 2 * PAGE);
	base = mremap(base, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (base == MAP_FAILED)
		setup_failed("mremap");
	drop_and_sync(base, SIZE, 2);
}

static void child_lengthens(void)
{
	int fd = open(path, O_RDWR);

	if (fd < 0 || ftruncate(fd, SIZE) != 0)
		setup_failed("ftruncate");
	child_stores();
}

static void child_has_much(void)
{
	store(base + 2 * PAGE);
	drop_and_sync(base, LARGE * PAGE, 2);
}

/* The parent has stored, and so the child's msync is about that too. */
static void child_syncs(void)
{
	drop_and_sync(base, SIZE, 2);
}

int main(int argc, char **argv)
{
	char *other;
	int fd;

	if (argc < 3)
		return EXIT_USAGE;
	path = argv[1];
	drop = argc > 3 ? argv[3] : "none";
#define HOW(name) (strcmp(argv[2], name) == 0)
	fd = open_filled(path, HOW("much in a child") ? LARGE : PAGES);
	base = map_shared(fd, HOW("much in a child") ? LARGE * PAGE : SIZE);
	/* What is not read in is not mapped. */
	for (int i = 0; i < PAGES; i++)
		*(volatile char *)(base + i * PAGE);
	if (HOW("child")) {
		return in_child(child_stores);
	} else if (HOW("parent")) {
		store(base + 2 * PAGE);
		return in_child(child_syncs);
	} else if (HOW("unmapped in a child")) {
		return in_child(child_unmaps);
	} else if (HOW("moved in a child")) {
		return in_child(child_moves);
	} else if (HOW("empty at first") || HOW("empty at first, in a child")) {
		munmap(base, SIZE);
		if (ftruncate(fd, 0) != 0)
			setup_failed("ftruncate");
		base = map_shared(fd, SIZE);
		if (HOW("empty at first, in a child"))
			return in_child(child_lengthens);
		if (ftruncate(fd, SIZE) != 0)
			setup_failed("ftruncate");
		store(base + 2 * PAGE);
		drop_and_sync(base, SIZE, 2);
	} else if (HOW("much in a child")) {
		for (int i = 0; i < LARGE; i++)
			*(volatile char *)(base + i * PAGE);
		return in_child(child_has_much);
	} else if (HOW("locked")) {
		if (mlock(base, SIZE) != 0)
			setup_failed("mlock");
		store(base + 2 * PAGE);
		munlock(base, SIZE);
		drop_and_sync(base, SIZE, 2);
	} else if (HOW("locked before")) {
		if (mlock(base, SIZE) != 0)
			setup_failed("mlock");
		munlock(base, SIZE);
		store(base + 2 * PAGE);
		drop_and_sync(base, SIZE, 2);
	} else if (HOW("locked, the first unmapped")) {
		other = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		munmap(base, SIZE);
		if (mlock(other, SIZE) != 0)
			setup_failed("mlock");
		munlock(other, SIZE);
		store(other + 2 * PAGE);
		drop_and_sync(other, SIZE, 2);
	} else if (HOW("the first unmapped")) {
		other = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		munmap(base, SIZE);
		store(other + 2 * PAGE);
		drop_and_sync(other, SIZE, 2);
	} else if (HOW("unshare")) {
		if (unshare(CLONE_NEWNS) != 0)
			setup_failed("unshare");
		store(base + 2 * PAGE);
		drop_and_sync(base, SIZE, 2);
	} else if (HOW("exec")) {
		char bad[4096];
		int script;

		snprintf(bad, sizeof(bad), "%s.exec", path);
		script = open(bad, O_WRONLY | O_CREAT, 0755);
		if (write(script, "nothing", 7) != 7)
			setup_failed("write");
		close(script);
		execl(bad, bad, (char *)NULL);
		store(base + 2 * PAGE);
		drop_and_sync(base, SIZE, 2);
	} else if (HOW("vfork")) {
		pid_t child = vfork();

		if (child == 0) {
			store(base + 2 * PAGE);
			let_go();
			sync_and_tell(base, SIZE);
			tell(2);
			fflush(stdout);
			_exit(0);
		}
		waitpid(child, NULL, 0);
		sync_and_tell(base, SIZE);
	} else if (HOW("mapped by a vfork child") || HOW("mapped by a vfork child, first")) {
		if (HOW("mapped by a vfork child, first"))
			munmap(base, SIZE);
		map_in_vfork_child(fd);
		store(base + 2 * PAGE);
		drop_and_sync(base, SIZE, 2);
	} else if (HOW("paged out by itself")) {
		store(base + 2 * PAGE);
		fsync(fd);
		page_itself_out();
		drop_and_sync(base, SIZE, 2);
	} else if (HOW("unmapped by a vfork child") || HOW("unmapped by a vfork child, all")) {
		other = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (HOW("unmapped by a vfork child, all"))
			munmap(other, SIZE);
		store(base + 2 * PAGE);
		unmap_in_vfork_child();
		if (HOW("unmapped by a vfork child, all"))
			other = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		drop_and_sync(other, SIZE, 2);
	} else if (HOW("two mappings") || HOW("two mappings, one of them for writing")) {
		int prot = HOW("two mappings") ? PROT_READ | PROT_WRITE : PROT_WRITE;

		other = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		munmap(base, SIZE);
		base = mmap(NULL, SIZE, prot, MAP_SHARED, fd, 0);
		store(other + 2 * PAGE);
		munmap(other, SIZE);
		drop_and_sync(base, SIZE, 2);
	} else if (HOW("remapped")) {
		if (remap_file_pages(base, 2 * PAGE, 0, 3, 0) != 0)
			setup_failed("remap_file_pages");
		store(base);
		drop_and_sync(base, SIZE, 3);
	} else if (HOW("remapped after a store")) {
		store(base);
		if (remap_file_pages(base, 2 * PAGE, 0, 3, 0) != 0)
			setup_failed("remap_file_pages");
		drop_and_sync(base, SIZE, 0);
	} else {
		store(base + 2 * PAGE);
		drop_and_sync(base, SIZE, 2);
	}
	return 0;
}
