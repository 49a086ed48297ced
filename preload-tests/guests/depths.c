/*
 * usage: depths FILE SECOND [thread]
 * How much of a stack each call takes that concerns a mapped file with pages that are not synced: made in a handler on an
 * alternate stack that was painted before. Prints its result, and to stderr how many bytes it took more than a handler that
 * calls nothing.
 */
#include "guest.h"
#include <pthread.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

enum { PAGES = 16, ALTERNATE = 256 * 1024 };

static int fd, other;
static char *base, *window, *stack;
static const char *path;
static char buffer[PAGE];
static struct iovec vector = { buffer, 16 };
static long result;

#define CALLS(CALL)                                                                                \
	CALL(nothing, 0)                                                                           \
	CALL(mmap, (window = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) \
	CALL(msync, msync(base, PAGES * PAGE, MS_SYNC))                                            \
	CALL(munmap, munmap(window, PAGE))                                                         \
	CALL(mmap_to_read, (window = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0)) == MAP_FAILED) \
	CALL(mmap_over, mmap(window, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) \
	CALL(mmap_private_over, mmap(window, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED) \
	CALL(munmap_private, munmap(window, PAGE))                                                 \
	CALL(mremap, (window = mremap(base, 0, PAGE, MREMAP_MAYMOVE)) == MAP_FAILED)               \
	CALL(mremap_longer, (window = mremap(window, PAGE, 2 * PAGE, MREMAP_MAYMOVE)) == MAP_FAILED) \
	CALL(munmap_last, munmap(window, 2 * PAGE))                                                \
	CALL(read, read(fd, buffer, 16) < 0)                                                       \
	CALL(pread, pread(fd, buffer, 16, 0) < 0)                                                  \
	CALL(readv, readv(fd, &vector, 1) < 0)                                                     \
	CALL(preadv, preadv(fd, &vector, 1, 0) < 0)                                                \
	CALL(read_into, pread(other, base, 16, 0) < 0)                                             \
	CALL(write, write(fd, buffer, 16) < 0)                                                     \
	CALL(pwrite, pwrite(fd, buffer, 16, 0) < 0)                                                \
	CALL(writev, writev(fd, &vector, 1) < 0)                                                   \
	CALL(pwritev, pwritev(fd, &vector, 1, 0) < 0)                                              \
	CALL(copy_file_range, copy_file_range(other, &(off_t){ 0 }, fd, &(off_t){ 0 }, 16, 0) < 0) \
	CALL(sendfile, sendfile(fd, other, &(off_t){ 0 }, 16) < 0)                                 \
	CALL(fsync, fsync(fd))                                                                     \
	CALL(fdatasync, fdatasync(fd))                                                             \
	CALL(ftruncate_up, ftruncate(fd, (PAGES + 1) * PAGE))                                      \
	CALL(ftruncate_down, ftruncate(fd, PAGES * PAGE))                                          \
	CALL(ftruncate_same, ftruncate(fd, PAGES * PAGE))                                          \
	CALL(truncate_up, truncate(path, (PAGES + 1) * PAGE))                                      \
	CALL(truncate_down, truncate(path, PAGES * PAGE))                                          \
	CALL(fallocate, fallocate(fd, 0, 0, PAGES * PAGE) && errno != EOPNOTSUPP)                  \
	CALL(punch, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE) && errno != EOPNOTSUPP) \
	CALL(madvise_dontneed, madvise(base, PAGE, MADV_DONTNEED))                                 \
	CALL(madvise_remove, madvise(base, PAGE, MADV_REMOVE) && errno != EOPNOTSUPP)              \
	CALL(open, close(open(path, O_RDWR)))                                                      \
	CALL(open_to_read, close(open(path, O_RDONLY)))                                            \
	CALL(open_truncating, (close(open(path, O_RDWR | O_TRUNC)), ftruncate(fd, PAGES * PAGE)))  \
	CALL(openat, close(openat(AT_FDCWD, path, O_RDWR)))                                        \
	CALL(fopen, fclose(fopen(path, "r+")))                                                     \
	CALL(mlock, mlock(base, PAGE))                                                             \
	CALL(msync_locked, msync(base, PAGES * PAGE, MS_SYNC))                                     \
	CALL(dup2, dup2(fd, 100) != 100)                                                           \
	CALL(close, close(100))                                                                    \
	CALL(dup3, dup3(fd, 101, O_CLOEXEC) != 101)                                                \
	CALL(close_range, close_range(101, 101, 0))                                                \
	CALL(setuid, setuid(getuid()))                                                             \
	CALL(msync_async, msync(base, PAGES * PAGE, MS_ASYNC))

#define HANDLER(name, call)             \
	static void in_##name(int unused) \
	{                               \
		(void)unused;           \
		result = (call);        \
	}
CALLS(HANDLER)

static void in_fork(int unused)
{
	(void)unused;
	result = fork();
	if (result == 0)
		_exit(0);
}

/* How many bytes of the alternate stack are used when `handler` runs. */
static size_t depth_of(void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
	char *lowest = stack;

	sigaction(SIGUSR1, &action, NULL);
	memset(stack, 0x5a, ALTERNATE);
	raise(SIGUSR1);
	while (*lowest == 0x5a)
		lowest++;
	return stack + ALTERNATE - lowest;
}

static void *wait_for_end(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return unused;
}

int main(int argc, char **argv)
{
	stack_t alternate = { .ss_size = ALTERNATE };
	pthread_t thread;
	size_t least, depth;

	if (argc < 3)
		return EXIT_USAGE;
	path = argv[1];
	fd = open_filled(path, PAGES);
	other = open_filled(argv[2], PAGES);
	base = map_shared(fd, PAGES * PAGE);
	if (argc > 3 && pthread_create(&thread, NULL, wait_for_end, NULL) != 0)
		setup_failed("pthread_create");
	alternate.ss_sp = stack = mmap(NULL, ALTERNATE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sigaltstack(&alternate, NULL) != 0)
		setup_failed("sigaltstack");
	least = depth_of(in_nothing);
	base[0] = 'a';
	if (msync(base, PAGES * PAGE, MS_SYNC) != 0)
		setup_failed("msync");
#define MEASURE(name, call)                                                  \
	for (int page = 0; page < PAGES; page += 3)                          \
		base[page * PAGE]++;                                         \
	lseek(fd, 0, SEEK_SET);                                              \
	depth = depth_of(in_##name) - least;                                 \
	printf("%s %ld\n", #name, result);                                   \
	fprintf(stderr, "%s %zu\n", #name, depth);
	CALLS(MEASURE)
	depth = depth_of(in_fork) - least;
	printf("fork %d\n", waitpid(result, NULL, 0) > 0);
	fprintf(stderr, "fork %zu\n", depth);
	return 0;
}
