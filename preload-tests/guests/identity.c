/*
 * usage: identity DIRECTORY setuid|ids|groups|crowd|chroot|fs|user|namespaces|setns|seccomp|session
 * A program that changes who or where it is between two rounds of map and sync.
 */
#include "guest.h"
#include <dirent.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sched.h>
#include <sys/mount.h>
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

/* Who a task is, as /proc tells: ids and capabilities. */
static void read_ids(const char *task, char *ids, size_t size)
{
	char path[300], line[70000];
	FILE *status;

	snprintf(path, sizeof(path), "/proc/self/task/%s/status", task);
	ids[0] = 0;
	if ((status = fopen(path, "r")) == NULL)
		return;
	while (fgets(line, sizeof(line), status) != NULL)
		if (strncmp(line, "Uid:", 4) == 0 || strncmp(line, "Gid:", 4) == 0 ||
		    strncmp(line, "Groups:", 7) == 0 || strncmp(line, "CapEff:", 7) == 0)
			strncat(ids, line, size - strlen(ids) - 1);
	fclose(status);
}

/* Is there a task in this process that is not who, or where, it should be? `task` is where /proc/self/task
 * leads to it. */
static void compare(const char *task, const char *own, int *strangers, int *elsewhere)
{
	static char other[140000];
	static const char *const places[] = { "root", "ns/user", "ns/mnt", "ns/uts", "ns/net" };

	read_ids(task, other, sizeof(other));
	*strangers += other[0] != 0 && strcmp(own, other) != 0;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char path[300];
		struct stat here, there;

		snprintf(path, sizeof(path), "/proc/self/task/%s/%s", task, places[i]);
		if (stat(path, &there) != 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/%s", places[i]);
		if (stat(path, &here) == 0)
			*elsewhere += here.st_dev != there.st_dev || here.st_ino != there.st_ino;
	}
}

/* Children that have this memory, which only somebody who looks for them sees, count too. */
static void compare_sharers(const char *of, const char *own, int *strangers, int *elsewhere)
{
	char path[300], name[64], task[300];
	int child;
	FILE *children, *comm;

	snprintf(path, sizeof(path), "/proc/self/task/%s/children", of);
	if ((children = fopen(path, "r")) == NULL)
		return;
	while (fscanf(children, "%d", &child) == 1) {
		snprintf(path, sizeof(path), "/proc/%d/comm", child);
		if ((comm = fopen(path, "r")) == NULL)
			continue;
		if (fgets(name, sizeof(name), comm) != NULL && strcmp(name, "keepmydata\n") == 0) {
			DIR *dir;
			struct dirent *entry;

			snprintf(path, sizeof(path), "/proc/%d/task", child);
			dir = opendir(path);
			while (dir != NULL && (entry = readdir(dir)) != NULL) {
				if (entry->d_name[0] == '.')
					continue;
				snprintf(task, sizeof(task), "../../%d/task/%.20s", child, entry->d_name);
				compare(task, own, strangers, elsewhere);
			}
			if (dir != NULL)
				closedir(dir);
		}
		fclose(comm);
	}
	fclose(children);
}

static void tasks(const char *step)
{
	static char own[140000];
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	int strangers = 0, elsewhere = 0;

	if (dir == NULL)
		setup_failed("/proc/self/task");
	read_ids("../../self", own, sizeof(own));
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		compare(entry->d_name, own, &strangers, &elsewhere);
		compare_sharers(entry->d_name, own, &strangers, &elsewhere);
	}
	closedir(dir);
	printf("%s: tasks of another user: %s, in another place: %s\n", step,
	       strangers ? "some" : "none", elsewhere ? "some" : "none");
}

static void called(const char *call, int result)
{
	printf("%s %d %s\n", call, result, errname(result ? errno : 0));
	tasks(call);
}

/* Every call that changes ids, and those that fail. */
static void every_call(void)
{
	called("setgid", setgid(10));
	called("setegid", setegid(11));
	called("setregid", setregid(12, 13));
	called("setresgid", setresgid(14, 15, 16));
	called("setreuid", setreuid(20, 0));
	called("seteuid away", seteuid(21));
	called("seteuid without right", seteuid(22));
	called("setgroups without right", setgroups(0, NULL));
	round_of_syncs("as another effective user");
	called("seteuid back", seteuid(0));
	called("setresuid", setresuid(30, 31, 32));
	called("setresuid among them", setresuid(31, 32, 30));
	called("setuid to the saved one", setuid(30));
	called("setuid without right", setuid(0));
	round_of_syncs("after every call");
}

static void groups(void)
{
	static gid_t many[65536];

	for (int i = 0; i < 65536; i++)
		many[i] = 100 + i;
	called("setgroups", setgroups(3, many));
	called("setgroups to all", setgroups(65536, many));
	called("setgroups to too many", setgroups(65537, many));
	called("initgroups", initgroups("nobody", NOBODY));
	called("setgroups to none", setgroups(0, NULL));
	round_of_syncs("after setgroups");
}

/* Threads that sync all the time while another one changes ids. */
static volatile int stop;

static void *syncing_thread(void *number)
{
	intptr_t page = (intptr_t)number, failed = 0;

	while (!stop) {
		base[page * PAGE]++;
		failed += msync(base, LENGTH, MS_SYNC) != 0;
		failed += store_and_sync(fd, LENGTH, 'c') != 0;
	}
	return (void *)failed;
}

static void crowd(void)
{
	pthread_t threads[4];
	intptr_t failed = 0;

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, syncing_thread, (void *)(intptr_t)(1 + i));
	for (int i = 0; i < 200; i++) {
		if (seteuid(i % 2 ? 0 : NOBODY) != 0 || setegid(i % 3) != (i % 2 ? 0 : -1))
			printf("round %d: %s\n", i, errname(errno));
		if (i % 20 == 0)
			tasks("in a crowd");
	}
	stop = 1;
	for (int i = 0; i < 4; i++) {
		void *result;

		pthread_join(threads[i], &result);
		failed += (intptr_t)result;
	}
	printf("failed: %d\n", (int)failed);
	tasks("after the crowd");
}

/* A namespace of each kind in turn; then back to the first ones. */
static void namespaces(void)
{
	int first = open("/proc/self/ns/uts", O_RDONLY);

	called("unshare(CLONE_NEWUTS)", unshare(CLONE_NEWUTS));
	round_of_syncs("uts");
	called("unshare(CLONE_NEWNS)", unshare(CLONE_NEWNS));
	round_of_syncs("mnt");
	called("unshare(CLONE_NEWNET)", unshare(CLONE_NEWNET));
	called("unshare(-1)", unshare(-1));
	called("unshare(0)", unshare(0));
	round_of_syncs("net");
	called("setns(uts)", setns(first, CLONE_NEWUTS));
	called("setns(-1)", setns(-1, 0));
	round_of_syncs("uts again");
}

/* A mount namespace of a child's. Only a thread that shares its place with nobody may enter. */
static void enter(void)
{
	char path[64];
	int ready[2], namespace;
	pid_t child;

	if (pipe(ready) != 0 || (child = fork()) < 0)
		setup_failed("fork");
	if (child == 0) {
		if (unshare(CLONE_NEWNS) != 0 || write(ready[1], "r", 1) != 1)
			_exit(1);
		pause();
	}
	if (read(ready[0], path, 1) != 1)
		setup_failed("child");
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", child);
	namespace = open(path, O_RDONLY);
	called("setns(mnt)", setns(namespace, CLONE_NEWNS));
	round_of_syncs("after setns");
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* With a thread of its own a program is refused, under the shim as without. */
static void *waiting_thread(void *unused)
{
	pthread_barrier_wait(&barrier);
	return unused;
}

static void refused(void)
{
	pthread_t thread;

	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, waiting_thread, NULL);
	called("unshare(CLONE_NEWUSER) with a thread", unshare(CLONE_NEWUSER));
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	round_of_syncs("refused");
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
	} else if (strcmp(argv[2], "ids") == 0) {
		every_call();
	} else if (strcmp(argv[2], "groups") == 0) {
		groups();
	} else if (strcmp(argv[2], "crowd") == 0) {
		crowd();
	} else if (strcmp(argv[2], "chroot") == 0) {
		snprintf(path, sizeof(path), "%s/proc", argv[1]);
		mkdir(path, 0755);
		if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		    mount("proc", path, "proc", 0, NULL) != 0)
			setup_failed("proc inside");
		round_of_syncs("before chroot");
		if (chroot(argv[1]) != 0 || chdir("/") != 0)
			setup_failed("chroot");
		tasks("after chroot");
		round_of_syncs("after chroot");
		tasks("after a round");
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
	} else if (strcmp(argv[2], "user") == 0) {
		refused();
		called("unshare(CLONE_NEWUSER)", unshare(CLONE_NEWUSER));
		round_of_syncs("after unshare");
		called("unshare(CLONE_NEWNS)", unshare(CLONE_NEWNS));
		round_of_syncs("at the end");
	} else if (strcmp(argv[2], "namespaces") == 0) {
		namespaces();
	} else if (strcmp(argv[2], "setns") == 0) {
		enter();
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
