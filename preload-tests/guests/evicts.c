/* Has the kernel evict what it has cached of all files in the directories of DIR, again and again: evicts DIR SECONDS. Prints how
 * often. */
#include "guest.h"
#include <glob.h>

int main(int argc, char **argv)
{
	char pattern[4096];
	int times = 0;
	time_t end;

	if (argc != 3)
		return EXIT_USAGE;
	snprintf(pattern, sizeof pattern, "%s/.*/case-*", argv[1]);
	end = time(NULL) + atoi(argv[2]);
	while (time(NULL) < end) {
		glob_t found;

		if (glob(pattern, 0, NULL, &found) == 0) {
			for (size_t i = 0; i < found.gl_pathc; i++) {
				int fd = open(found.gl_pathv[i], O_RDONLY);
				struct stat st;
				char *map = MAP_FAILED;

				if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0)
					map = mmap(NULL, st.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
				if (map != MAP_FAILED) {
					times += madvise(map, st.st_size, MADV_PAGEOUT) == 0;
					munmap(map, st.st_size);
				}
				if (fd >= 0)
					close(fd);
			}
			globfree(&found);
		}
		usleep(200000);
	}
	printf("%d\n", times);
	return times == 0;
}
