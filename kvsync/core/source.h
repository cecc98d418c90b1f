/* What kvsync.index.holding knows of one source, in C, and whether a message can be applied to it here. */
#ifndef KVSYNC_SOURCE_H
#define KVSYNC_SOURCE_H

#include "plain.h"
#include "table.h"

#pragma GCC visibility push(hidden)

/* What of a kvsync.index.holding.Holding is read or written, in this order. */
enum {
    NUMBER, BLOCK_SIZE, ANNOUNCED_SIZE, BLOCKS, MASKS, LORAS, COPIES, SHARERS, ORPHANS, FULL_GROUP, GROUPS, KEYED,
    IS_FULL, XOR, SLOTS
};

/* The same, checked and in C. */
typedef struct {
    PyObject *self, *loras, *copies, *sharers;
    Table *blocks, *masks;
    uint64_t number, block_size, group, seed, room, xor;
    int is_keyed, is_full, knows_group;
} Source;

PyObject **source_slot(PyObject *holding, int which);

/* Look at a source for a message; -1, with or without an exception, for what takes Python's way. */
int source_look(PyObject *holding, Source *source);

/* Look at a source into which blocks are put; the same, but that nothing about it is uncommon here. */
int source_look_at_blocks(PyObject *holding, Source *source);

/* Whether all of a message can be applied here; -1 with an exception. */
int source_fits(const Source *source, const PlainBatch *batch);

int source_holds(const Source *source, uint64_t hash);

#pragma GCC visibility pop

#endif
