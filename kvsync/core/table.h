/* A hash table of 64-bit keys and values of one or more 64-bit words, which grows without a pause.
 *
 * It is a directory of segments by the first bits of a key's hash (extendible hashing). A segment of at most
 * MOST_SLOTS slots is open addressing with linear probing; when it is full it becomes half as wide again, and at last two.
 * So growing moves some two thousand entries at once, however many there are, and the load stays between 0.5 and 0.8.
 * Each segment has values as wide as its widest: a mask of many sources does not widen those of few. Keys come from
 * peers, so they are hashed with a secret of the process.
 */
#ifndef KVSYNC_TABLE_H
#define KVSYNC_TABLE_H

#include "core.h"

#pragma GCC visibility push(hidden)

/* Apart from its content, so that all of them stay in the processor's cache. */
typedef struct {
    uint64_t *content; /* of each slot its key, 0 if it is free, and `words` words, all 0 if it is free */
    uint32_t slots, used, words, depth;
} Segment;

typedef struct {
    PyObject_HEAD
    Segment **directory; /* 1 << depth of them; NULL while the table is empty */
    uint32_t depth;
    uint32_t zero_words;
    uint64_t *zero; /* the value of key 0, which marks free slots; NULL: there is none */
    size_t length, bytes;
} Table;

extern PyTypeObject TableType;
extern uint64_t table_secret[2];

/* Make the type and add it to the module; -1 with an exception. */
int table_ready(PyObject *module);

/* Return the value of a key and its width, NULL if there is none. Pointers hold until the table is changed. */
uint64_t *table_find(const Table *table, uint64_t key, uint32_t *words);

/* Return the value of a key, a new one of zeros if it had none, at least so wide; NULL with MemoryError. */
uint64_t *table_add(Table *table, uint64_t key, uint32_t words);

/* Drop a key that is there. */
void table_erase(Table *table, uint64_t key);

void table_clear(Table *table);

/* Return a value as an integer; NULL with MemoryError. */
PyObject *table_number(const uint64_t *value, uint32_t words);

/* Return one segment after the other, `*at` being 0 at first; NULL after the last. */
Segment *table_next(const Table *table, size_t *at);

static inline uint64_t table_hash(uint64_t key)
{
    return fold(key ^ table_secret[0], table_secret[1]);
}

static inline Segment *table_segment(const Table *table, uint64_t hash)
{
    return table->directory[table->depth ? hash >> (64 - table->depth) : 0];
}

static inline uint32_t table_home(const Segment *segment, uint64_t hash)
{
    return (uint32_t)(((hash & UINT32_MAX) * segment->slots) >> 32);
}

static inline uint64_t *table_slot(const Segment *segment, uint32_t slot)
{
    return segment->content + (size_t)slot * (segment->words + 1);
}

/* Let the memory of a key's slot come while something else is done. Always inline: gcc 12 takes it for a function
 * without an effect, and leaves calls of it out. */
static inline __attribute__((always_inline)) void table_prefetch(const Table *table, uint64_t key)
{
    if (!table->directory) return;
    uint64_t hash = table_hash(key);
    const Segment *segment = table_segment(table, hash);
    __builtin_prefetch(table_slot(segment, table_home(segment, hash)), 1);
}

#pragma GCC visibility pop

#endif
