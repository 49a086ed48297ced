/* A file that another client has read whole is changed by a call, in pages that are not in the page cache here, and synced through a
 * mapping: altered FILE OTHER CALL [MAPPING], where OTHER is its name by that client, and the MAPPING is then one that is made
 * "anew", or of a descriptor for "reading" alone. Prints what msync did, how many pages that client shows otherwise than they are,
 * through a descriptor that was open before and a new one, and whether it shows another size. */
#include "guest.h"

enum { PAGES = 8, SIZE = PAGES * PAGE };

static int file;
static char *map;
static const char *name;

static void call(const char *how)
{
	int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, direct, result = 0, go[2];
	char *bytes;

	if (!strcmp(how, "punch"))
		result = fallocate(file, punch, PAGE, 2 * PAGE);
	else if (!strcmp(how, "zero"))
		result = fallocate(file, FALLOC_FL_ZERO_RANGE, PAGE / 2, 3 * PAGE);
	else if (!strcmp(how, "remove"))
		result = madvise(map + PAGE, 2 * PAGE, MADV_REMOVE);
	else if (!strcmp(how, "regrow"))
		result = ftruncate(file, PAGE + 100) || ftruncate(file, SIZE);
	else if (!strcmp(how, "shrink"))
		result = ftruncate(file, 3 * PAGE);
	else if (!strcmp(how, "cut"))
		result = ftruncate(file, 3 * PAGE + 100);
	else if (!strcmp(how, "empty"))
		result = ftruncate(file, 0);
	else if (!strcmp(how, "grow"))
		result = ftruncate(file, SIZE + 5 * PAGE);
	else if (!strcmp(how, "beyond"))
		result = pwrite(file, "n", 1, SIZE + 100) != 1;
	else if (!strcmp(how, "written"))
		/* The page leaves the page cache by the open, where the daemon does not keep it. */
		result = pwrite(file, "n", 1, 2 * PAGE) != 1 || close(open(name, O_RDONLY)) != 0;
	else if (!strcmp(how, "elsewhere"))
		/* No mapping has it any more. */
		result = munmap(map, PAGE) || fallocate(file, punch, 0, PAGE);
	else if (!strcmp(how, "direct")) {
		direct = open(name, O_RDWR | O_DIRECT);
		bytes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(bytes, 'd', PAGE);
		result = direct < 0 || pwrite(direct, bytes, PAGE, 2 * PAGE) != PAGE || close(direct) != 0;
	} else if (!strcmp(how, "aside")) {
		result = munmap(map, PAGE) || pwrite(file, "n", 1, 0) != 1;
	} else if (!strcmp(how, "appended")) {
		/* The offset says nothing. */
		int end = open(name, O_WRONLY | O_APPEND);

		result = pwrite(end, "n", 1, 0) != 1 || close(end) != 0;
	} else if (!strcmp(how, "stored")) {
		/* By a child, to what its parent does not map any more. */
		result = pipe(go);
		if (fork() == 0) {
			close(go[1]);
			result = read(go[0], &result, 1);
			map[0] = 'n';
			_exit(0);
		}
		result = result || munmap(map, PAGE) || close(go[1]) || wait(&result) < 0;
	} else if (!strcmp(how, "child")) {
		if (fork() == 0)
			_exit(fallocate(file, punch, PAGE, PAGE) != 0);
		result = wait(&result) < 0 || result != 0;
	} else if (strcmp(how, "none"))
		exit(EXIT_USAGE);
	if (result != 0)
		setup_failed("%s", how);
}

static int differs(int here, int there)
{
	char own[PAGE], others[PAGE];
	int pages = 0;

	for (off_t at = 0; at < SIZE + 8 * PAGE; at += PAGE) {
		ssize_t read = pread(here, own, PAGE, at);

		pages += pread(there, others, PAGE, at) != read || (read > 0 && memcmp(own, others, read) != 0);
	}
	return pages;
}

/* The mapping that is synced. */
static void map_anew(const char *how)
{
	int fd = file, prot = PROT_READ | PROT_WRITE;

	if (!strcmp(how, "reading")) {
		fd = open(name, O_RDONLY);
		prot = PROT_READ;
	} else if (strcmp(how, "anew"))
		exit(EXIT_USAGE);
	if (munmap(map, SIZE) != 0)
		setup_failed("munmap");
	map = mmap(NULL, SIZE, prot, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		setup_failed("mmap");
}

int main(int argc, char **argv)
{
	int held, anew, here;
	struct stat own, other, open_there;

	if (argc != 4 && argc != 5)
		return EXIT_USAGE;
	name = argv[1];
	file = open_filled(name, PAGES);
	posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
	map = map_shared(file, SIZE);
	held = open(argv[2], O_RDONLY);
	while (held >= 0 && differs(file, held) != 0) {
		usleep(10000);
		posix_fadvise(held, 0, 0, POSIX_FADV_DONTNEED);
	}
	if (held < 0 || stat(argv[2], &other) != 0)
		setup_failed("the other client");
	posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
	call(argv[3]);
	if (argc == 5)
		map_anew(argv[4]);
	printf("msync %s\n", errname(msync(map + PAGE, PAGE, MS_SYNC) ? errno : 0));
	here = open(name, O_RDONLY);
	anew = open(argv[2], O_RDONLY);
	printf("held %d\nanew %d\n", differs(here, held), differs(here, anew));
	if (fstat(here, &own) != 0 || stat(argv[2], &other) != 0 || fstat(held, &open_there) != 0)
		setup_failed("stat");
	printf("size %s\n", own.st_size == other.st_size && own.st_size == open_there.st_size ? "same" : "other");
	return 0;
}
