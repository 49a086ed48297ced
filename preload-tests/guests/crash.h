/*
 * What the programs of the power cuts store, so that a checker knows each byte without having been
 * told any: store NUMBER of PROCESS is a function of a seed, and so is each of its bytes.
 */
#ifndef CRASH_H
#define CRASH_H

#include "guest.h"

enum {
	FILE_SIZE = 12800000,
	LONGEST = 20000,
	/* The seed case. */
	SEED_AT = 4442856, SEED_LENGTH = 9927,
	SEED_OLD_AT = 4440064, SEED_OLD_LENGTH = 3 * PAGE,
	/* Old bytes at the beginning of each of these, a hole in the rest. */
	BLOCK = 1 << 20, OLD_LENGTH = 128 << 10,
	OLD = 255, /* the process that stored what was there before */
};

struct store {
	off_t offset;
	size_t length;
};

/* splitmix64's finaliser */
static inline uint64_t mixed(uint64_t z)
{
	z += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static inline uint64_t key_of(uint64_t seed, unsigned process, uint64_t number)
{
	return mixed(mixed(seed) ^ mixed((uint64_t)process << 48 ^ number));
}

static inline uint64_t word_at(uint64_t key, off_t position)
{
	return mixed(key + position / 8);
}

/* Byte `position` of the file, as the store with this key leaves it. */
static inline unsigned char byte_at(uint64_t key, off_t position)
{
	return word_at(key, position) >> position % 8 * 8;
}

/* The first store is the seed case; half of the others are near it. */
static inline struct store store_of(uint64_t seed, unsigned process, uint64_t number)
{
	uint64_t random = mixed(key_of(seed, process, number));
	struct store store = { SEED_AT, SEED_LENGTH };

	if (process != 0 || number != 0) {
		store.length = 1 + random % LONGEST;
		random = mixed(random);
		store.offset = random & 1 ? SEED_OLD_AT - BLOCK / 4 + random / 2 % (BLOCK / 2)
			: random / 2 % (FILE_SIZE - LONGEST);
	}
	return store;
}

/* Writes the bytes of the store with this key to `base`, which is position 0 of the file. */
static inline void fill(char *base, uint64_t key, struct store store)
{
	off_t at = store.offset, end = store.offset + store.length;

	while (at < end) {
		uint64_t word = word_at(key, at) >> at % 8 * 8;
		size_t length = 8 - at % 8;

		if ((off_t)length > end - at)
			length = end - at;
		memcpy(base + at, &word, length);
		at += length;
	}
}

enum { OLD_RANGES = FILE_SIZE / BLOCK + 2 };

/* Where the file holds bytes before the first store. */
static inline struct store old_range(int number)
{
	off_t left = FILE_SIZE - (off_t)number * BLOCK;

	if (number == OLD_RANGES - 1)
		return (struct store){ SEED_OLD_AT, SEED_OLD_LENGTH };
	return (struct store){ (off_t)number * BLOCK, left < OLD_LENGTH ? left : OLD_LENGTH };
}

static inline uint64_t old_key(uint64_t seed)
{
	return key_of(seed, OLD, 0);
}

/* FNV-1a */
static inline uint64_t hash_of(const void *bytes, size_t length)
{
	const unsigned char *byte = bytes;
	uint64_t hash = 0xcbf29ce484222325u;

	while (length--)
		hash = (hash ^ *byte++) * 0x100000001b3u;
	return hash;
}

/* A line with one write(2), so that lines of several programs do not mix. */
__attribute__((format(printf, 1, 2)))
static inline void say(const char *format, ...)
{
	char line[512];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (write(1, line, length) != length)
		setup_failed("write of what was promised");
}

#endif
