/*
 * A program of PMDK's: data made durable with libpmem, as its manual pages say.
 *
 * usage: pmem calls FILE      each way to make data durable: what it returns, and what is read back
 *        pmem persist FILE    pmem_persist where the file is persistent memory, else pmem_msync
 *        pmem append FILE NAME how
 *                             a record after the other, each a page more of the file, made durable and
 *                             then told as `NAME COUNT`; how: `msync` (pmem_msync), `sync` (a mapping
 *                             with MAP_SYNC, pmem_persist) or `none` (pmem_persist without MAP_SYNC)
 *        pmem check FILE NAME COUNT
 *                             `NAME KEPT COUNT`: so many of that many records are there
 *
 * Exits 1 where what was made durable is not read back.
 */
#include "guest.h"
#include <inttypes.h>

/* libpmem.h: Debian's libpmem1 comes without it. */
#define PMEM_FILE_CREATE 1
extern void *pmem_map_file(const char *path, size_t len, int flags, mode_t mode, size_t *mapped, int *is_pmem);
extern int pmem_unmap(void *addr, size_t len);
extern int pmem_is_pmem(const void *addr, size_t len);
extern void pmem_persist(const void *addr, size_t len);
extern int pmem_msync(const void *addr, size_t len);
extern void pmem_flush(const void *addr, size_t len);
extern void pmem_drain(void);
extern int pmem_deep_persist(const void *addr, size_t len);
extern void *pmem_memcpy_persist(void *to, const void *from, size_t len);
extern const char *pmem_errormsg(void);

enum { LENGTH = 64 * PAGE, RECORDS = 8192 };

static const char *path;
static int failures, is_pmem;

static char *map(void)
{
	size_t mapped;
	char *base = pmem_map_file(path, LENGTH, PMEM_FILE_CREATE, 0644, &mapped, &is_pmem);

	if (base == NULL)
		setup_failed("pmem_map_file %s: %s", path, pmem_errormsg());
	return base;
}

static void check(const char *what, int result, const char *base, size_t offset, size_t length)
{
	static char buffer[LENGTH];
	int fd = open(path, O_RDONLY);
	int same = pread(fd, buffer, length, offset) == (ssize_t)length && memcmp(buffer, base + offset, length) == 0;

	close(fd);
	printf("%s: %s, read %s\n", what, errname(result == 0 ? 0 : errno), same ? "back" : "WRONG");
	failures += !same;
}

static void calls(void)
{
	char *base = map();

	printf("persistent memory %d, all of it %d, beyond it %d\n", is_pmem, pmem_is_pmem(base, LENGTH),
	       pmem_is_pmem(base, 2 * LENGTH));
	memset(base, 'p', 3 * PAGE);
	pmem_persist(base, 3 * PAGE);
	check("pmem_persist", 0, base, 0, 3 * PAGE);
	memset(base + 100, 'm', 9927);
	check("pmem_msync", pmem_msync(base + 100, 9927), base, 0, 3 * PAGE);
	memset(base + 8 * PAGE, 'f', PAGE);
	pmem_flush(base + 8 * PAGE, PAGE);
	pmem_drain();
	check("pmem_flush and pmem_drain", 0, base, 8 * PAGE, PAGE);
	pmem_memcpy_persist(base + 20 * PAGE, base, 2 * PAGE);
	check("pmem_memcpy_persist", 0, base, 20 * PAGE, 2 * PAGE);
	memset(base + 30 * PAGE, 'd', PAGE);
	check("pmem_deep_persist", pmem_deep_persist(base + 30 * PAGE, PAGE), base, 30 * PAGE, PAGE);
	check("pmem_msync of it all", pmem_msync(base, LENGTH), base, 0, LENGTH);
	printf("pmem_unmap: %d\n", pmem_unmap(base, LENGTH));
}

static void persist(void)
{
	char *base = map();
	int result = 0;

	for (int page = 0; page < 8; page++) {
		memset(base + page * PAGE, 'a' + page, PAGE);
		if (is_pmem)
			pmem_persist(base + page * PAGE, PAGE);
		else
			result |= pmem_msync(base + page * PAGE, PAGE);
	}
	printf("persistent memory %d\n", is_pmem);
	check("durable", result, base, 0, 8 * PAGE);
	pmem_unmap(base, LENGTH);
}

/* Every word of a record says which it is. */
static void fill(uint64_t *record, uint64_t number)
{
	for (size_t i = 0; i < PAGE / sizeof(*record); i++)
		record[i] = (number + 1) * 0x9e3779b97f4a7c15 + i;
}

static void append(const char *name, const char *how)
{
	int fd = open_sized(path, 0), synced = strcmp(how, "sync") == 0;
	char line[100];
	char *base = mmap(NULL, (size_t)RECORDS * PAGE, PROT_READ | PROT_WRITE,
			  synced ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		setup_failed("mmap %s", path);
	for (int number = 0; number < RECORDS; number++) {
		char *record = base + (size_t)number * PAGE;
		int length;

		if (ftruncate(fd, (off_t)(number + 1) * PAGE) != 0)
			setup_failed("ftruncate");
		fill((uint64_t *)record, number);
		if (strcmp(how, "msync") == 0) {
			if (pmem_msync(record, PAGE) != 0)
				setup_failed("pmem_msync");
		} else {
			pmem_persist(record, PAGE);
		}
		length = snprintf(line, sizeof(line), "%s %d\n", name, number + 1);
		if (write(1, line, length) != length)
			setup_failed("write");
	}
}

static void count(const char *name, int promised)
{
	uint64_t expected[PAGE / sizeof(uint64_t)], found[PAGE / sizeof(uint64_t)];
	int fd = open(path, O_RDONLY), kept = 0;

	for (int number = 0; fd >= 0 && number < promised; number++) {
		fill(expected, number);
		kept += pread(fd, found, PAGE, (off_t)number * PAGE) == PAGE && memcmp(found, expected, PAGE) == 0;
	}
	printf("%s %d %d\n", name, kept, promised);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return EXIT_USAGE;
	path = argv[2];
	if (strcmp(argv[1], "calls") == 0 && argc == 3)
		calls();
	else if (strcmp(argv[1], "persist") == 0 && argc == 3)
		persist();
	else if (strcmp(argv[1], "append") == 0 && argc == 5)
		append(argv[3], argv[4]);
	else if (strcmp(argv[1], "check") == 0 && argc == 5)
		count(argv[3], atoi(argv[4]));
	else
		return EXIT_USAGE;
	return failures != 0;
}
