/*
 * oracle DIRECTORY SOCKET PATH DIRECT: runs programs of calls on files, one program a line of standard input, and says what
 * happened (see tests/oracle/program.rs for the calls, tests/oracle/events.rs for what is said).
 *
 * DIRECTORY is where the files are made; SOCKET answers what the filesystem holds, at every sync that returned 0 before
 * the thread goes on; PATH is what the directory is called there. DIRECT is 1 where write(2) goes past the page cache,
 * which nobody may do while another thread stores to the same page.
 *
 * A file is made of cells of 512 bytes. What is stored is the first byte of a cell, its last one, or all of it, so that
 * two bytes say all of a cell. Each thread has cells of its own in every page.
 */
#include "guest.h"
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>

enum {
	CELL = 512,
	CELLS = PAGE / CELL,
	PAGES = 64,
	SLOTS = 4,
	THREADS = 4,
	OPS = 128,
	ARGUMENTS = 6,
	NOTHING = -1,
	ANONYMOUS = -2,
	FILL = 1,
};

struct op {
	char name[12];
	long arg[ARGUMENTS];
};

/* What all threads and the children share. */
struct shared {
	atomic_long clock;
	atomic_int processes;
	/* Bytes of the file; changed by programs of one thread only. */
	atomic_long size;
	/* The counter: where it counts (-1: nowhere), its value, whether it goes on. */
	atomic_long word;
	atomic_ulong count;
	atomic_int counting;
	atomic_long used;
	char text[8 << 20];
};

struct slot {
	char *base;
	int pages;
	/* Of each page: the page of the file, or NOTHING, or ANONYMOUS. */
	int page[PAGES];
	int prot[PAGES];
	/* Pages of it were locked in memory at some time. */
	int locked;
};

struct thread {
	int number, process, count;
	struct op op[OPS];
	int fd, control, at;
	struct slot slot[SLOTS];
	char *buffer;
};

static struct shared *shared;
static const char *directory, *socket_path, *inside;
static char path[4096], path_inside[4096];
static int threads, direct_writes;
static struct thread all[THREADS];
static pthread_barrier_t barrier;
static pthread_t counter;
static __thread sigjmp_buf fault;

static void on_fault(int signal)
{
	siglongjmp(fault, signal);
}

static long tick(void)
{
	return atomic_fetch_add(&shared->clock, 1);
}

__attribute__((format(printf, 1, 2)))
static void say(const char *format, ...)
{
	char line[12288];
	va_list args;
	int length;
	long at;

	va_start(args, format);
	length = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	at = atomic_fetch_add(&shared->used, length);
	if (at + length <= (long)sizeof(shared->text))
		memcpy(shared->text + at, line, length);
}

/* How much was written to standard error so far. */
static long said(void)
{
	struct stat status;

	return fstat(2, &status) == 0 ? status.st_size : 0;
}

static int dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		setup_failed("connect %s", socket_path);
	return fd;
}

/* One request, and its answer, a line. */
static void ask(int fd, char *answer, size_t size, const char *request)
{
	size_t length = 0;

	if (write(fd, request, strlen(request)) != (ssize_t)strlen(request))
		setup_failed("write to %s", socket_path);
	do {
		ssize_t n = read(fd, answer + length, size - 1 - length);

		if (n <= 0)
			setup_failed("read from %s", socket_path);
		length += n;
	} while (answer[length - 1] != '\n');
	answer[length] = 0;
	if (!strstr(answer, "\"ok\":true"))
		setup_failed("%s: %s", request, answer);
}

/* The value of a field of the answer, without quotes; "-" where there is none. */
static void field(const char *answer, const char *name, char *value, size_t size)
{
	char key[32];
	const char *at;
	size_t n = 0;

	snprintf(key, sizeof(key), "\"%s\":", name);
	at = strstr(answer, key);
	if (at)
		for (at += strlen(key) + (at[strlen(key)] == '"'); n < size - 1 && !strchr("\",}\n", at[n]); n++)
			value[n] = at[n];
	value[n] = 0;
	if (n == 0)
		strcpy(value, "-");
}

/* A sync returned 0: what does the filesystem hold now? */
static void look(struct thread *t, char kind, unsigned long promised, long begin, long end, unsigned long floor, long said_before)
{
	char request[4400], answer[12288], stable[4200], served[4200], stable_word[32], served_word[32], word[48] = "";
	long at = atomic_load(&shared->word);

	if (t->control < 0)
		t->control = dial();
	if (at >= 0)
		snprintf(word, sizeof(word), ",\"word\":%ld", at);
	snprintf(request, sizeof(request), "{\"op\":\"ends\",\"path\":\"%s\",\"block\":%d%s}\n", path_inside, CELL, word);
	ask(t->control, answer, sizeof(answer), request);
	field(answer, "stable", stable, sizeof(stable));
	field(answer, "served", served, sizeof(served));
	field(answer, "stable_word", stable_word, sizeof(stable_word));
	field(answer, "served_word", served_word, sizeof(served_word));
	say("Z %d %d %d %ld %ld %ld %c %lu %lu %ld %ld %s %s %s %s\n", t->process, t->number, t->at, begin, end, tick(), kind,
	    promised, floor, said_before, said(), stable_word, served_word, stable, served);
}

static void call(struct thread *t, const char *name, long begin, long result, int error, int hole)
{
	say("C %d %d %d %ld %ld %s %ld %s %d\n", t->process, t->number, t->at, begin, tick(), name, result,
	    errname(result < 0 ? error : 0), hole);
}

/* Makes a call, and says what it returned. */
#define CALL(t, name, expression) ({ \
	long begin_ = tick(); \
	errno = 0; \
	long result_ = (long)(expression); \
	call(t, name, begin_, result_, errno, 0); \
	result_; \
})

static void wrote(struct thread *t, char kind, long begin, int value, long from, long to)
{
	say("W %d %d %d %ld %ld %c %d %ld %ld\n", t->process, t->number, t->at, begin, tick(), kind, value, from, to);
}

static long clamp(long n, long low, long high)
{
	return n < low ? low : n > high ? high : n;
}

static struct slot *slot_of(struct thread *t, long n)
{
	return &t->slot[n & (SLOTS - 1)];
}

static void set(struct slot *s, long off, long n, int page, int prot)
{
	for (long i = off; i < off + n; i++) {
		s->page[i] = page < 0 ? page : page + (i - off);
		s->prot[i] = prot;
	}
}

/* The part of the slot that is meant, without what is not there any more: off and n. */
static int part(struct slot *s, const long *arg, long *off, long *n)
{
	*off = clamp(arg[1], 0, s->pages);
	*n = clamp(arg[2], 0, s->pages - *off);
	while (*n > 0 && s->page[*off] == NOTHING)
		++*off, --*n;
	for (long i = 0; i < *n; i++)
		if (s->page[*off + i] == NOTHING)
			*n = i;
	return *n > 0;
}

static int protection(long bits)
{
	return (bits & 1 ? PROT_READ : 0) | (bits & 2 ? PROT_WRITE : 0);
}

/* Unmaps what is left of a slot, piece by piece: what lies in its holes is somebody else's. */
static void clear(struct thread *t, struct slot *s)
{
	long arg[3] = { 0, 0, PAGES }, off, n;

	while (part(s, arg, &off, &n)) {
		CALL(t, "munmap", munmap(s->base + off * PAGE, n * PAGE));
		set(s, off, n, NOTHING, 0);
	}
	s->pages = 0;
}

/* A cell that this thread may store to. */
static long own(struct thread *t, long cell)
{
	return threads == 1 ? cell & (CELLS - 1) : t->number + THREADS * (cell & 1);
}

/* Only what no other thread can be surprised by. */
static int alone(void)
{
	return threads == 1;
}

static void store_byte(struct thread *t, struct slot *s, long i, long at, long length, int value)
{
	volatile char *byte = s->base + i * PAGE + at;
	long begin = tick(), from = (long)s->page[i] * PAGE + at;

	if (sigsetjmp(fault, 0) != 0)
		return;
	for (long k = 0; k < length; k++)
		byte[k] = value;
	/* What lies behind the end of the file, in its last page, is not of the file. */
	wrote(t, from + length <= atomic_load(&shared->size) ? 's' : 'x', begin, value, from, from + length);
}

static void store(struct thread *t, const long *arg)
{
	struct slot *s = slot_of(t, arg[0]);
	long off, n, cell = own(t, arg[3]);

	if (!part(s, arg, &off, &n))
		return;
	for (long i = off; i < off + n; i++)
		if (s->page[i] >= 0 && s->prot[i] & PROT_WRITE)
			store_byte(t, s, i, cell * CELL + (arg[4] == 1 ? CELL - 1 : 0), arg[4] == 2 ? CELL : 1, arg[5]);
}

static void touch(struct thread *t, const long *arg)
{
	struct slot *s = slot_of(t, arg[0]);
	long off, n;

	if (!part(s, arg, &off, &n))
		return;
	for (volatile long i = off; i < off + n; i++)
		if (sigsetjmp(fault, 0) == 0)
			(void)*(volatile char *)(s->base + i * PAGE);
}

static void map(struct thread *t, const long *arg)
{
	struct slot *s = slot_of(t, arg[0]);
	long page = clamp(arg[1], 0, PAGES - 1), n = clamp(arg[2], 1, PAGES);
	char *base;

	clear(t, s);
	base = (char *)CALL(t, "mmap", mmap(NULL, n * PAGE, protection(arg[3]), MAP_SHARED, t->fd, page * PAGE));
	if (base == MAP_FAILED)
		return;
	s->base = base;
	s->pages = n;
	set(s, 0, n, page, protection(arg[3]));
}

static void map_over(struct thread *t, const long *arg, int anonymous)
{
	struct slot *s = slot_of(t, arg[0]);
	long off, n, page = clamp(arg[3], 0, PAGES - 1);
	int prot = anonymous ? PROT_READ | PROT_WRITE : protection(arg[4]);

	if (!part(s, arg, &off, &n))
		return;
	if (anonymous) {
		if (CALL(t, "mmap", mmap(s->base + off * PAGE, n * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)) != -1)
			set(s, off, n, ANONYMOUS, prot);
	} else if (CALL(t, "mmap", mmap(s->base + off * PAGE, n * PAGE, prot, MAP_SHARED | MAP_FIXED, t->fd, page * PAGE)) != -1) {
		set(s, off, n, page, prot);
	}
}

/* Another part of the file in the place of what is there. */
static void remap(struct thread *t, const long *arg)
{
	struct slot *s = slot_of(t, arg[0]);
	long off, n, page = clamp(arg[3], 0, PAGES - 1);

	if (part(s, arg, &off, &n) && CALL(t, "remap_file_pages", remap_file_pages(s->base + off * PAGE, n * PAGE, 0, page, 0)) == 0)
		set(s, off, n, page, s->prot[off]);
}

static void lock(struct thread *t, const long *arg)
{
	struct slot *s = slot_of(t, arg[0]);
	long off, n;

	if (!part(s, arg, &off, &n))
		return;
	s->locked |= arg[3] != 0;
	if (arg[3])
		CALL(t, "mlock", mlock(s->base + off * PAGE, n * PAGE));
	else
		CALL(t, "munlock", munlock(s->base + off * PAGE, n * PAGE));
}

/* Another program opens the file, and may sync it and have what is not mapped evicted. The shim sees no call of it. */
static void other(struct thread *t, int evicts)
{
	long begin = tick();
	int status = 0;
	pid_t child = raw_fork();

	if (child == 0) {
		int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR);

		if (evicts) {
			status = syscall(SYS_fsync, fd) == 0 ? 0 : errno;
			syscall(SYS_fadvise64, fd, 0, 0, POSIX_FADV_DONTNEED);
		}
		syscall(SYS_exit_group, status);
	}
	if (child > 0)
		waitpid(child, &status, 0);
	/* It was told of what the program is then not. */
	if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) != 0)
		call(t, "other", begin, -1, WEXITSTATUS(status), 0);
}

/* Whether the slot is one mapping of the file as far as the kernel is concerned. */
static int whole(struct slot *s)
{
	for (long i = 0; i < s->pages; i++)
		if (s->page[i] < 0 || s->page[i] != s->page[0] + i || s->prot[i] != s->prot[0])
			return 0;
	return s->pages > 0;
}

static void resize(struct thread *t, const long *arg, int sign)
{
	struct slot *s = slot_of(t, arg[0]);
	long pages = clamp(s->pages + sign * arg[1], 1, PAGES);
	char *base;

	if (!whole(s) || pages == s->pages)
		return;
	base = (char *)CALL(t, "mremap", mremap(s->base, (long)s->pages * PAGE, pages * PAGE, arg[2] ? MREMAP_MAYMOVE : 0));
	if (base == MAP_FAILED)
		return;
	s->base = base;
	if (pages > s->pages)
		set(s, s->pages, pages - s->pages, s->page[0] + s->pages, s->prot[0]);
	s->pages = pages;
}

/* A part of a slot moves to where a second slot is from then on; or, with `old_size` 0, is mapped there a second time. */
static void move(struct thread *t, const long *arg, int second)
{
	struct slot *s = slot_of(t, arg[0]), *to = slot_of(t, arg[3]);
	long off, n;
	char *room, *base;

	if (s == to || !part(s, arg, &off, &n))
		return;
	for (long i = 0; i < n; i++)
		if (s->page[off + i] < 0 || s->page[off + i] != s->page[off] + i || s->prot[off + i] != s->prot[off])
			n = i;
	if (n == 0)
		return;
	clear(t, to);
	room = mmap(NULL, n * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	base = (char *)CALL(t, "mremap", mremap(s->base + off * PAGE, second ? 0 : n * PAGE, n * PAGE,
						MREMAP_MAYMOVE | MREMAP_FIXED, room));
	if (base == MAP_FAILED) {
		munmap(room, n * PAGE);
		return;
	}
	to->base = base;
	to->pages = n;
	set(to, 0, n, s->page[off], s->prot[off]);
	if (!second)
		set(s, off, n, NOTHING, 0);
}

static void advise(struct thread *t, const long *arg)
{
	static const int advice[] = { MADV_DONTNEED, 21 /* PAGEOUT */, MADV_REMOVE, 20 /* COLD */, MADV_WILLNEED, 23 /* POPULATE_WRITE */ };
	struct slot *s = slot_of(t, arg[0]);
	long off, n, kind = clamp(arg[3], 0, 5), begin = tick(), result;
	int from;

	/* The kernel removes what comes before a locked page, and then refuses. */
	if (!part(s, arg, &off, &n) || (kind == 2 && (!alone() || s->locked)))
		return;
	/* The size of the file stays as it is: what lies behind it is not removed. */
	for (long i = off; kind == 2 && i < off + n; i++)
		if (s->page[i] < 0 || s->page[i] != s->page[off] + (i - off) || !(s->prot[i] & PROT_WRITE))
			n = i - off;
	if (n == 0)
		return;
	from = s->page[off];
	result = CALL(t, "madvise", madvise(s->base + off * PAGE, n * PAGE, advice[kind]));
	if (result == 0 && kind == 2)
		wrote(t, 'r', begin, 0, (long)from * PAGE, (long)(from + n) * PAGE);
}

static void protect(struct thread *t, const long *arg)
{
	struct slot *s = slot_of(t, arg[0]);
	long off, n;

	if (part(s, arg, &off, &n) && CALL(t, "mprotect", mprotect(s->base + off * PAGE, n * PAGE, protection(arg[3]))) == 0)
		for (long i = off; i < off + n; i++)
			s->prot[i] = protection(arg[3]);
}

static void unmap(struct thread *t, const long *arg)
{
	struct slot *s = slot_of(t, arg[0]);
	long off, n;

	if (part(s, arg, &off, &n) && CALL(t, "munmap", munmap(s->base + off * PAGE, n * PAGE)) == 0)
		set(s, off, n, NOTHING, 0);
}

static void sync_range(struct thread *t, const long *arg)
{
	struct slot *s = slot_of(t, arg[0]);
	long off = clamp(arg[1], 0, s->pages), n = clamp(arg[2], 0, s->pages - off), begin, end, said_before = said();
	int hole = 0, flags = arg[3], result;
	/* Of the file, a bit each. */
	unsigned long pages = 0, floor = atomic_load(&shared->count);

	if (s->pages == 0)
		return;
	for (long i = off; i < off + n; i++) {
		hole |= s->page[i] == NOTHING;
		if (s->page[i] >= 0 && s->page[i] < PAGES)
			pages |= 1UL << s->page[i];
	}
	begin = tick();
	errno = 0;
	result = msync(s->base + off * PAGE, n * PAGE, flags);
	call(t, "msync", begin, result, errno, hole);
	end = tick();
	if (result == 0 && flags & MS_SYNC)
		look(t, 'm', pages, begin, end, t->process == 0 ? floor : 0, said_before);
}

static void sync_file(struct thread *t, int data)
{
	long begin = tick(), end, said_before = said();
	int result = data ? fdatasync(t->fd) : fsync(t->fd);

	call(t, data ? "fdatasync" : "fsync", begin, result, errno, 0);
	end = tick();
	if (result == 0)
		look(t, 'f', 0, begin, end, 0, said_before);
}

/* pwrite of one piece, through a descriptor of its own with O_DIRECT (1), with O_APPEND (2), or with O_DIRECT and RWF_APPEND
 * (3): these put it at the end, whatever the offset. */
static void write_piece(struct thread *t, long from, long length, int value, int how)
{
	struct iovec part = { t->buffer, length };
	long begin, result, at = from, size = atomic_load(&shared->size);
	int fd = t->fd;

	if (how & 2 && (!alone() || size + length > (long)PAGES * PAGE || (how & 1 && size % CELL)))
		return;
	if (how) {
		fd = CALL(t, "open", open(path, O_RDWR | O_CLOEXEC | (how & 1 ? O_DIRECT : 0) | (how == 2 ? O_APPEND : 0)));
		if (fd < 0)
			return;
	}
	memset(t->buffer, value, length);
	begin = tick();
	result = CALL(t, "pwrite", how == 3 ? pwritev2(fd, &part, 1, at, RWF_APPEND) : pwrite(fd, t->buffer, length, at));
	if (how & 2)
		from = size;
	/* What was not written may be there in part. */
	if (result < length)
		wrote(t, 'x', begin, value, from + clamp(result, 0, length), from + length);
	if (result > 0) {
		wrote(t, 'p', begin, value, from, from + result);
		if (alone() && from + result > atomic_load(&shared->size))
			atomic_store(&shared->size, from + result);
	}
	if (how)
		CALL(t, "close", close(fd));
}

static void write_cells(struct thread *t, const long *arg)
{
	long cell = clamp(arg[0], 0, PAGES * CELLS - 1), n = clamp(arg[1], 1, PAGES * CELLS - cell);

	if ((arg[2] & 1 || direct_writes) && (!alone() || atomic_load(&shared->counting)))
		return;
	if (alone())
		write_piece(t, cell * CELL, n * CELL, arg[3], arg[2]);
	else
		write_piece(t, (cell / CELLS * CELLS + own(t, cell)) * CELL, CELL, arg[3], arg[2]);
}

static void resize_file(struct thread *t, long size)
{
	long begin = tick(), old = atomic_load(&shared->size);

	if (!alone() || CALL(t, "ftruncate", ftruncate(t->fd, size)) != 0)
		return;
	atomic_store(&shared->size, size);
	if (size != old)
		wrote(t, 'r', begin, 0, size < old ? size : old, (long)PAGES * PAGE);
}

static void punch(struct thread *t, const long *arg, int mode)
{
	long cell = clamp(arg[0], 0, PAGES * CELLS - 1), n = clamp(arg[1], 1, PAGES * CELLS - cell), begin = tick();

	if (!alone())
		return;
	if (CALL(t, "fallocate", fallocate(t->fd, mode | FALLOC_FL_KEEP_SIZE, cell * CELL, n * CELL)) == 0)
		wrote(t, 'r', begin, 0, cell * CELL, (cell + n) * CELL);
	else
		/* Without room it fails with a part of it done. */
		wrote(t, 'x', begin, 0, cell * CELL, (cell + n) * CELL);
}

/* copy_file_range from another file, of one byte over and over. */
static void copy(struct thread *t, const long *arg)
{
	long cell = clamp(arg[0], 0, PAGES * CELLS - 1), n = clamp(arg[1], 1, PAGES * CELLS - cell), begin, result;
	off_t from = 0, to = cell * CELL;
	char source[4200];
	int fd;

	if (!alone() || (direct_writes && atomic_load(&shared->counting)))
		return;
	snprintf(source, sizeof(source), "%s.source", path);
	fd = open(source, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	memset(t->buffer, arg[2], n * CELL);
	if (fd >= 0 && pwrite(fd, t->buffer, n * CELL, 0) == n * CELL) {
		begin = tick();
		result = CALL(t, "copy", copy_file_range(fd, &from, t->fd, &to, n * CELL, 0));
		if (result > 0) {
			wrote(t, 'p', begin, arg[2], cell * CELL, cell * CELL + result);
			if (cell * CELL + result > atomic_load(&shared->size))
				atomic_store(&shared->size, cell * CELL + result);
		}
	}
	if (fd >= 0)
		close(fd);
	unlink(source);
}

static void empty(struct thread *t)
{
	long begin = tick();
	int fd;

	if (!alone())
		return;
	fd = CALL(t, "open", open(path, O_RDWR | O_TRUNC | O_CLOEXEC));
	if (fd < 0)
		return;
	atomic_store(&shared->size, 0);
	wrote(t, 'r', begin, 0, 0, (long)PAGES * PAGE);
	CALL(t, "close", close(fd));
}

static void reopen(struct thread *t)
{
	int fd;

	CALL(t, "close", close(t->fd));
	fd = CALL(t, "open", open(path, O_RDWR | O_CLOEXEC));
	if (fd < 0)
		setup_failed("open %s again", path);
	t->fd = fd;
}

static void peek(struct thread *t, int flags)
{
	int fd = CALL(t, "open", open(path, O_RDONLY | O_CLOEXEC | flags));

	if (fd < 0)
		return;
	CALL(t, "pread", pread(fd, t->buffer, (size_t)PAGES * PAGE, 0));
	CALL(t, "close", close(fd));
}

static void *count_on(void *argument)
{
	char *at = argument;
	long nap = atomic_load(&shared->counting) - 1;
	volatile unsigned long n = 0;

	while (atomic_load(&shared->counting)) {
		n++;
		if (sigsetjmp(fault, 0) == 0)
			atomic_store((atomic_ulong *)at, n);
		atomic_store(&shared->count, n);
		if (nap > 0)
			usleep(nap);
		else
			sched_yield();
	}
	return NULL;
}

static void stop_counting(void)
{
	if (atomic_exchange(&shared->counting, 0))
		pthread_join(counter, NULL);
}

/* A thread counts in a page of the file, in a mapping that nothing else happens to, for as long as the program runs. */
static void count(struct thread *t, const long *arg)
{
	long page = clamp(arg[0], 0, PAGES - 1);
	char *map;

	if (t->process != 0 || t->number != 0 || atomic_load(&shared->counting) || (page + 1) * PAGE > atomic_load(&shared->size))
		return;
	map = (char *)CALL(t, "mmap", mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, page * PAGE));
	if (map == MAP_FAILED)
		return;
	atomic_store(&shared->count, 0);
	atomic_store(&shared->word, page * PAGE + CELL / 2);
	atomic_store(&shared->counting, 1 + clamp(arg[1], 0, 1000));
	if (pthread_create(&counter, NULL, count_on, map + CELL / 2) != 0)
		setup_failed("pthread_create");
}

static void run_ops(struct thread *t, int from, int to);

/* The next ops are those of a child. */
static int in_child(struct thread *t, int from, int to)
{
	int number = atomic_fetch_add(&shared->processes, 1), status = 0;
	long begin = tick();
	pid_t pid = fork();

	if (pid == 0) {
		t->process = number;
		t->control = -1;
		run_ops(t, from, to);
		fflush(NULL);
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	say("C %d %d %d %ld %ld fork %d 0 %d\n", t->process, t->number, from - 1, begin, tick(), pid > 0 ? number : -1, status);
	return to;
}

static void run_op(struct thread *t, struct op *op)
{
	static const struct { const char *name; int mode; } fallocates[] = {
		{ "punch", FALLOC_FL_PUNCH_HOLE }, { "zero", FALLOC_FL_ZERO_RANGE },
	};
	const long *arg = op->arg;

#define IS(word) (!strcmp(op->name, word))
	for (size_t i = 0; i < 2; i++)
		if (IS(fallocates[i].name))
			punch(t, arg, fallocates[i].mode);
	if (IS("map"))
		map(t, arg);
	else if (IS("fix"))
		map_over(t, arg, 0);
	else if (IS("anon"))
		map_over(t, arg, 1);
	else if (IS("remap"))
		remap(t, arg);
	else if (IS("lock"))
		lock(t, arg);
	else if (IS("other"))
		other(t, arg[0]);
	else if (IS("unmap"))
		unmap(t, arg);
	else if (IS("grow"))
		resize(t, arg, 1);
	else if (IS("shrink"))
		resize(t, arg, -1);
	else if (IS("move"))
		move(t, arg, 0);
	else if (IS("twin"))
		move(t, arg, 1);
	else if (IS("prot"))
		protect(t, arg);
	else if (IS("advise"))
		advise(t, arg);
	else if (IS("store"))
		store(t, arg);
	else if (IS("touch"))
		touch(t, arg);
	else if (IS("sync"))
		sync_range(t, arg);
	else if (IS("fsync"))
		sync_file(t, arg[0]);
	else if (IS("pwrite"))
		write_cells(t, arg);
	else if (IS("trunc"))
		resize_file(t, clamp(arg[0] * CELL / 2, 0, PAGES * PAGE));
	else if (IS("copy"))
		copy(t, arg);
	else if (IS("empty"))
		empty(t);
	else if (IS("reopen"))
		reopen(t);
	else if (IS("peek"))
		peek(t, arg[0] ? O_SYNC : 0);
	else if (IS("count"))
		count(t, arg);
	else if (IS("nap"))
		usleep(clamp(arg[0], 0, 20000));
	else if (!IS("punch") && !IS("zero"))
		setup_failed("no such call: %s", op->name);
}

static void run_ops(struct thread *t, int from, int to)
{
	for (int i = from; i < to; i++) {
		t->at = i;
		if (!strcmp(t->op[i].name, "fork"))
			i = in_child(t, i + 1, clamp(i + 1 + t->op[i].arg[0], i + 1, to)) - 1;
		else
			run_op(t, &t->op[i]);
	}
}

static void *run_thread(void *argument)
{
	struct thread *t = argument;

	t->fd = open(path, O_RDWR | O_CLOEXEC);
	if (t->fd < 0)
		setup_failed("open %s", path);
	pthread_barrier_wait(&barrier);
	run_ops(t, 0, t->count);
	return NULL;
}

/* `PAGES: op args; op args | op args; ...`, with ops of one thread after another. */
static int parse(char *text, int *pages)
{
	char *rest, *thread, *op, *save_thread, *save_op;

	*pages = strtol(text, &rest, 10);
	if (*rest != ':')
		setup_failed("no program: %s", text);
	threads = 0;
	for (thread = strtok_r(rest + 1, "|", &save_thread); thread; thread = strtok_r(NULL, "|", &save_thread)) {
		struct thread *t = &all[threads];

		if (threads == THREADS)
			setup_failed("too many threads");
		t->number = threads++;
		t->process = t->count = 0;
		t->control = -1;
		memset(t->op, 0, sizeof(t->op));
		memset(t->slot, 0, sizeof(t->slot));
		for (op = strtok_r(thread, ";", &save_op); op; op = strtok_r(NULL, ";", &save_op)) {
			struct op *o = &t->op[t->count];
			long *a = o->arg;

			if (sscanf(op, "%11s %ld %ld %ld %ld %ld %ld", o->name, a, a + 1, a + 2, a + 3, a + 4, a + 5) < 1)
				continue;
			if (++t->count == OPS)
				setup_failed("too many calls");
		}
	}
	return threads;
}

static void make_file(int pages, const char *mode)
{
	char request[4400], answer[256];
	int fd, control = -1;

	/* The file itself is made by a filesystem that does what it says. */
	if (*mode != '-') {
		control = dial();
		ask(control, answer, sizeof(answer), "{\"op\":\"mode\",\"mode\":\"honest\"}\n");
	}
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	memset(all[0].buffer, FILL, pages * PAGE);
	if (fd < 0 || pwrite(fd, all[0].buffer, pages * PAGE, 0) != pages * PAGE || fsync(fd) != 0)
		setup_failed("make %s", path);
	if (*mode != '-') {
		snprintf(request, sizeof(request), "{\"op\":\"mode\",\"mode\":\"%s\",\"path\":\"%s\"}\n", mode, path_inside);
		ask(control, answer, sizeof(answer), request);
		close(control);
	}
	close(fd);
}

/* What a reader of this process gets now. */
static void read_back(void)
{
	static char hex[2 * 2 * PAGES * CELLS + 1];
	const char *bytes = all[0].buffer;
	/* Not O_RDONLY, which the test bed answers past the page cache. */
	int fd = open(path, O_RDWR | O_CLOEXEC), length = 0;
	ssize_t n = fd < 0 ? -1 : pread(fd, all[0].buffer, (size_t)PAGES * PAGE, 0);

	for (ssize_t at = 0; at < n; at += CELL) {
		length += sprintf(hex + length, "%02x", (unsigned char)bytes[at]);
		if (at + CELL <= n)
			length += sprintf(hex + length, "%02x", (unsigned char)bytes[at + CELL - 1]);
	}
	say("R %ld %s\n", tick(), length ? hex : "-");
	if (fd >= 0)
		close(fd);
}

static void run(char *line)
{
	pthread_t id[THREADS];
	char name[64], mode[64];
	int pages, skip = 0;
	long used;

	if (sscanf(line, "%63s %63s %n", name, mode, &skip) < 2)
		setup_failed("not understood: %s", line);
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	snprintf(path_inside, sizeof(path_inside), "%s/%s", inside, name);
	parse(line + skip, &pages);
	pages = clamp(pages, 1, PAGES);
	atomic_store(&shared->clock, 1);
	atomic_store(&shared->processes, 1);
	atomic_store(&shared->size, pages * PAGE);
	atomic_store(&shared->word, -1);
	atomic_store(&shared->count, 0);
	atomic_store(&shared->used, 0);
	make_file(pages, mode);
	pthread_barrier_init(&barrier, NULL, threads);
	for (int i = 1; i < threads; i++)
		if (pthread_create(&id[i], NULL, run_thread, &all[i]) != 0)
			setup_failed("pthread_create");
	if (threads > 0)
		run_thread(&all[0]);
	for (int i = 1; i < threads; i++)
		pthread_join(id[i], NULL);
	stop_counting();
	read_back();
	for (int i = 0; i < threads; i++) {
		for (int k = 0; k < SLOTS; k++)
			clear(&all[i], &all[i].slot[k]);
		close(all[i].fd);
		if (all[i].control >= 0)
			close(all[i].control);
	}
	unlink(path);
	used = atomic_load(&shared->used);
	if (used > (long)sizeof(shared->text))
		setup_failed("too much to say");
	for (long at = 0; at < used;) {
		ssize_t n = write(1, shared->text + at, used - at);

		if (n < 0)
			setup_failed("write");
		at += n;
	}
	dprintf(1, "done %ld\n", said());
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	static char line[1 << 16];

	if (argc != 5)
		return EXIT_USAGE;
	directory = argv[1];
	socket_path = argv[2];
	inside = argv[3];
	direct_writes = atoi(argv[4]);
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		setup_failed("mmap");
	for (int i = 0; i < THREADS; i++)
		if (posix_memalign((void **)&all[i].buffer, PAGE, (size_t)PAGES * PAGE) != 0)
			setup_failed("posix_memalign");
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		run(line);
	}
	return 0;
}
