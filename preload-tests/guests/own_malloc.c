/*
 * usage: own_malloc FILE
 * A program whose malloc is its own and calls mmap and munmap under a lock that is
 * not recursive: a hook that allocates would wait for itself.
 */
#include "guest.h"
#include <pthread.h>

/* The compiler believes that it knows what malloc returns. */
#pragma GCC diagnostic ignored "-Warray-bounds"

enum { LENGTH = 16 * PAGE, HEADER = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile unsigned long inside;

void *malloc(size_t size)
{
	size_t whole = (size + HEADER + PAGE - 1) / PAGE * PAGE;
	char *memory;

	pthread_mutex_lock(&lock);
	inside++;
	memory = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_mutex_unlock(&lock);
	if (memory == MAP_FAILED)
		return NULL;
	*(size_t *)memory = whole;
	return memory + HEADER;
}

void free(void *block)
{
	char *memory = (char *)block - HEADER;

	if (block == NULL)
		return;
	pthread_mutex_lock(&lock);
	munmap(memory, *(size_t *)memory);
	pthread_mutex_unlock(&lock);
}

void *calloc(size_t count, size_t size)
{
	return malloc(count * size);
}

void *realloc(void *block, size_t size)
{
	void *fresh = malloc(size);
	size_t old = block == NULL ? 0 : *(size_t *)((char *)block - HEADER) - HEADER;

	if (fresh != NULL && block != NULL)
		memcpy(fresh, block, old < size ? old : size);
	free(block);
	return fresh;
}

static void *in_thread(void *fd)
{
	for (int i = 0; i < 2000; i++) {
		char *volatile block = malloc(i * 17);

		free(realloc(block, i * 31));
		if (i % 100 == 0 && store_and_sync((int)(intptr_t)fd, LENGTH, i) != 0)
			setup_failed("msync");
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[4];
	int fd, status;

	if (argc != 2)
		return EXIT_USAGE;
	fd = open_sized(argv[1], LENGTH);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, in_thread, (void *)(intptr_t)fd);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	if (fork() == 0)
		_exit(store_and_sync(fd, LENGTH, 'c') != 0);
	wait(&status);
	printf("child %d, own malloc %s\n", status, inside > 1000 ? "in use" : "not in use");
	return 0;
}
