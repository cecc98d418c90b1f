/* A common message as numbers, without Python's objects. */
#ifndef KVSYNC_PLAIN_H
#define KVSYNC_PLAIN_H

#include "core.h"

#pragma GCC visibility push(hidden)

#define MOST_BYTES (1 << 20) /* of a message that is read so: what it takes is kept for the next one */
#define MOST_EVENTS 4096 /* engines announce each block that they evict in an event of its own */

typedef struct {
    const uint64_t *hashes;
    const uint32_t *tokens;
    uint64_t parent, group;
    uint32_t count, token_count, size, extras; /* hashes, tokens, tokens of a block, extra keys (all nil) */
    uint8_t is_stored, has_parent, has_group, has_extras, is_full_attention;
} PlainEvent;

/* Of the message that was read last. */
typedef struct {
    PlainEvent events[MOST_EVENTS];
    uint32_t count;
    uint8_t has_rank;
    uint64_t rank;
    uint64_t *own; /* as many as the longest event has hashes */
} PlainBatch;

/* Read a message; NULL for what takes Python's way, with MemoryError if that is why. */
PlainBatch *plain_read(const uint8_t *bytes, size_t length);

#pragma GCC visibility pop

#endif
