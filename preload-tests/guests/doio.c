/*
 * Stores, syncs and reads back at random, as LTP's doio does for rwtest04.
 *
 * usage: doio [-n PROCS] [-t SECONDS | --ops N] [-s SEED] [-z FILESIZE] FILE
 *
 * Each process takes at random: a store through a mapping of the whole file
 * (record lock, mmap, memcpy, msync whose result is ignored, munmap, verify
 * through a fresh O_RDONLY descriptor, unlock), a read through a mapping, or a
 * read through a fresh descriptor. Only its own last store can be known to a
 * process, so only that is verified. A process ends at its first bad data,
 * which it reports on stderr.
 *
 * Exit: 0 all data good, 4 one process found bad data, 2 more than one did,
 * 1 a system call failed, 64 usage.
 */
#include "guest.h"
#include <getopt.h>

enum { MAX_LENGTH = 131072, DATA_GOOD = 0, CALL_FAILED = 1, DATA_BAD = 4 };

static const char *path;
static off_t file_size = 12800000;
static double seconds = 10;
static long max_ops = -1;
static char expected[MAX_LENGTH], actual[MAX_LENGTH];
static volatile unsigned checksum;

static uint64_t random_state;

/* splitmix64 */
static uint64_t random_below(uint64_t bound)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (z ^ z >> 31) % bound;
}

static void call_failed(const char *call)
{
	fprintf(stderr, "doio %d: %s: %s\n", getpid(), call, errname(errno));
	exit(CALL_FAILED);
}

static void lock_range(int fd, short type, off_t offset, size_t length)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET,
		.l_start = offset, .l_len = length };

	while (fcntl(fd, F_SETLKW, &lock) != 0)
		if (errno != EINTR)
			call_failed("fcntl F_SETLKW");
}

/* letter:pid:host:doio* over and over from the first byte of the store. */
static void fill(size_t length, char letter)
{
	char host[64] = "", pattern[128];
	size_t period;

	gethostname(host, sizeof(host) - 1);
	period = snprintf(pattern, sizeof(pattern), "%c:%d:%s:doio*", letter, getpid(), host);
	for (size_t i = 0; i < length; i++)
		expected[i] = pattern[i % period];
}

/* Reads the range through a fresh descriptor, which stays open: closing any
 * descriptor of the file would give up this process's record locks. */
static int read_afresh(off_t offset, size_t length)
{
	int fd = open(path, O_RDONLY);
	size_t done = 0;

	if (fd < 0)
		call_failed("open O_RDONLY");
	if (lseek(fd, offset, SEEK_SET) != offset)
		call_failed("lseek");
	while (done < length) {
		ssize_t n = read(fd, actual + done, length - done);
		if (n <= 0)
			call_failed("read");
		done += n;
	}
	return fd;
}

static void report(off_t offset, size_t length, size_t first)
{
	struct timespec now;
	size_t bad = 0, shown = length - first < 32 ? length - first : 32;

	for (size_t i = first; i < length; i++)
		bad += actual[i] != expected[i];
	for (size_t i = first; i < first + shown; i++)
		if (actual[i] < ' ' || actual[i] > '~')
			actual[i] = '.';
	clock_gettime(CLOCK_REALTIME, &now);
	fprintf(stderr,
		"doio %d: bad data offset %lld page %lld store [%lld,%lld) bad bytes %zu "
		"expected \"%.*s\" actual \"%.*s\" time %lld.%09ld\n",
		getpid(), (long long)(offset + first), (long long)(offset + first) / PAGE,
		(long long)offset, (long long)(offset + length), bad,
		(int)shown, expected + first, (int)shown, actual + first,
		(long long)now.tv_sec, now.tv_nsec);
}

static int store_and_verify(int fd, off_t offset, size_t length, char letter)
{
	int reader, outcome = DATA_GOOD;
	char *base;

	fill(length, letter);
	lock_range(fd, F_WRLCK, offset, length);
	base = mmap(NULL, file_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		call_failed("mmap");
	memcpy(base + offset, expected, length);
	msync(base, file_size, MS_SYNC);
	munmap(base, file_size);

	reader = read_afresh(offset, length);
	for (size_t i = 0; i < length; i++) {
		if (actual[i] != expected[i]) {
			report(offset, length, i);
			outcome = DATA_BAD;
			break;
		}
	}
	lock_range(fd, F_UNLCK, offset, length);
	close(reader);
	return outcome;
}

static void read_mapped(int fd, off_t offset, size_t length)
{
	char *base;
	unsigned sum = 0;

	lock_range(fd, F_RDLCK, offset, length);
	base = mmap(NULL, file_size, PROT_READ, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		call_failed("mmap");
	for (size_t i = 0; i < length; i++)
		sum += (unsigned char)base[offset + i];
	checksum += sum;
	munmap(base, file_size);
	lock_range(fd, F_UNLCK, offset, length);
}

static int work(uint64_t seed)
{
	double end = seconds_now() + seconds;
	int fd = open(path, O_RDWR);
	char letter = 'A';

	if (fd < 0)
		call_failed("open O_RDWR");
	random_state = seed;
	for (long op = 0; max_ops >= 0 ? op < max_ops : seconds_now() < end; op++) {
		off_t offset = random_below(file_size);
		size_t length = 1 + random_below(MAX_LENGTH);
		int outcome = DATA_GOOD;

		if ((off_t)length > file_size - offset)
			length = file_size - offset;
		switch (random_below(4)) {
		case 0:
			read_mapped(fd, offset, length);
			break;
		case 1:
			lock_range(fd, F_RDLCK, offset, length);
			close(read_afresh(offset, length));
			break;
		default:
			outcome = store_and_verify(fd, offset, length, letter);
			letter = letter == 'Z' ? 'A' : letter + 1;
		}
		if (outcome != DATA_GOOD)
			return outcome;
	}
	return DATA_GOOD;
}

static int usage(void)
{
	fprintf(stderr, "usage: doio [-n PROCS] [-t SECONDS | --ops N] [-s SEED] [-z FILESIZE] FILE\n");
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "ops", required_argument, NULL, 'o' }, { 0 } };
	int procs = 1, option, bad = 0, failed = 0, status;
	uint64_t seed = 1;

	while ((option = getopt_long(argc, argv, "n:t:s:z:", options, NULL)) != -1) {
		switch (option) {
		case 'n': procs = atoi(optarg); break;
		case 't': seconds = atof(optarg); break;
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'z': file_size = atoll(optarg); break;
		case 'o': max_ops = atol(optarg); break;
		default: return usage();
		}
	}
	if (optind != argc - 1 || procs < 1 || file_size < 1)
		return usage();
	path = argv[optind];
	close(open_sized(path, file_size));

	if (procs == 1)
		return work(seed);
	for (int i = 0; i < procs; i++) {
		pid_t child = fork();

		if (child < 0)
			call_failed("fork");
		if (child == 0)
			exit(work(seed * 1000 + i));
	}
	while (wait(&status) > 0) {
		int code = WIFEXITED(status) ? WEXITSTATUS(status) : CALL_FAILED;

		if (WIFSIGNALED(status))
			fprintf(stderr, "doio: a process was killed by signal %d\n", WTERMSIG(status));
		bad += code == DATA_BAD;
		failed += code != DATA_BAD && code != DATA_GOOD;
	}
	if (bad > 0)
		return bad == 1 ? 4 : 2;
	return failed ? CALL_FAILED : 0;
}
