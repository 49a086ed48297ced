/*
 * usage: identity DIRECTORY setuid|chroot|fs|namespace|seccomp|session
 * A program that changes who or where it is between two rounds of map and sync.
 */
#include "guest.h"
#include <dirent.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { LENGTH = 16 * PAGE, NOBODY = 65534 };

static int fd;
static char *base;
static pthread_barrier_t barrier;

static void round_of_syncs(const char *step)
{
	base[0]++;
	errno = 0;
	printf("%s: msync %d", step, msync(base, LENGTH, MS_SYNC));
	printf(", another mapping %d\n", store_and_sync(fd, LENGTH, base[0]));
}

static void *other_thread(void *unused)
{
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	printf("thread: uid %d euid %d\n", getuid(), geteuid());
	base[PAGE]++;
	printf("thread: msync %d\n", msync(base, LENGTH, MS_SYNC));
	return unused;
}

/* Is there a task in this process that is not who it should be? */
static void tasks(const char *step)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	int strangers = 0;

	while ((entry = readdir(dir)) != NULL) {
		char path[300], line[256];
		FILE *status;
		int uid;

		snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		if (entry->d_name[0] == '.' || (status = fopen(path, "r")) == NULL)
			continue;
		while (fgets(line, sizeof(line), status) != NULL)
			if (sscanf(line, "Uid: %d", &uid) == 1)
				strangers += uid != (int)getuid();
		fclose(status);
	}
	closedir(dir);
	printf("%s: tasks of another user: %s\n", step, strangers ? "some" : "none");
}

static void change_user(const char *directory)
{
	pthread_t thread;
	char path[4096];

	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, other_thread, NULL);
	pthread_barrier_wait(&barrier);
	tasks("before");
	if (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
		setup_failed("setuid");
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	tasks("after setuid");
	round_of_syncs("after setuid");
	tasks("after a round");
	snprintf(path, sizeof(path), "%s/secret", directory);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	printf("open where it may not: %s\n", fd < 0 ? errname(errno) : "works");
}

int main(int argc, char **argv)
{
	char path[4096];

	if (argc != 3)
		return EXIT_USAGE;
	snprintf(path, sizeof(path), "%s/f", argv[1]);
	fd = open_sized(path, LENGTH);
	base = map_shared(fd, LENGTH);
	round_of_syncs("before");
	if (strcmp(argv[2], "setuid") == 0) {
		change_user(argv[1]);
	} else if (strcmp(argv[2], "chroot") == 0) {
		if (chroot(argv[1]) != 0 || chdir("/") != 0)
			setup_failed("chroot");
		round_of_syncs("after chroot");
		fd = open("/g", O_RDWR | O_CREAT, 0644);
		if (fd < 0 || ftruncate(fd, LENGTH) != 0)
			setup_failed("open /g");
		printf("a file inside: %d\n", store_and_sync(fd, LENGTH, 'g'));
	} else if (strcmp(argv[2], "fs") == 0) {
		mode_t old;

		if (unshare(CLONE_FS | CLONE_FILES) != 0)
			setup_failed("unshare");
		old = umask(077);
		printf("umask %o, chdir %d\n", old, chdir("/"));
		round_of_syncs("after unshare");
	} else if (strcmp(argv[2], "namespace") == 0) {
		errno = 0;
		printf("unshare(CLONE_NEWNS) %d", unshare(CLONE_NEWNS));
		printf(" %s\n", errname(errno));
		errno = 0;
		printf("unshare(CLONE_NEWUSER) %d", unshare(CLONE_NEWUSER));
		printf(" %s\n", errname(errno));
		round_of_syncs("after unshare");
	} else if (strcmp(argv[2], "seccomp") == 0) {
		/* Only what the program itself calls; as sandboxes do, after start. */
		static const int allowed[] = { SYS_read, SYS_write, SYS_mmap, SYS_munmap, SYS_msync,
			SYS_pread64, SYS_exit_group, SYS_newfstatat, SYS_brk, SYS_futex, SYS_rt_sigreturn };
		enum { COUNT = sizeof(allowed) / sizeof(allowed[0]) };
		struct sock_filter filter[COUNT + 3] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		};
		struct sock_fprog program = { COUNT + 3, filter };

		for (int i = 0; i < COUNT; i++)
			filter[1 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], COUNT - i, 0);
		filter[COUNT + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
		filter[COUNT + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
			setup_failed("seccomp");
		round_of_syncs("in the sandbox");
	} else if (strcmp(argv[2], "session") == 0) {
		pid_t session = setsid();

		printf("setsid %s\n", session == getpid() || errno == EPERM ? "as expected" : "odd");
		printf("daemon %d\n", daemon(0, 1));
		round_of_syncs("as a daemon");
		fflush(stdout);
	} else {
		return EXIT_USAGE;
	}
	return 0;
}
