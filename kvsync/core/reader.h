/* msgpack, token by token: what is read is never beyond the end of its buffer. */
#ifndef KVSYNC_READER_H
#define KVSYNC_READER_H

#include "core.h"

typedef struct {
    const uint8_t *at, *end;
} Reader;

typedef enum { NIL, INT, NEGATIVE, TEXT, BYTES, ARRAY, MAP, DOUBLE, OTHER } Kind;

/* One token of msgpack: a value, or the head of a container. `number` is a value's or a count. */
typedef struct {
    Kind kind;
    uint64_t number;
    const uint8_t *bytes;
} Token;

static inline uint64_t big_endian(const uint8_t *p, int width)
{
    uint64_t value = 0;
    for (int i = 0; i < width; i++)
        value = value << 8 | p[i];
    return value;
}

/* Read what follows; -1 at the end of the buffer and for what takes Python's way. */
static inline int next(Reader *reader, Token *token)
{
    if (reader->at >= reader->end) return -1;
    uint8_t head = *reader->at++;
    int width = 0;
    token->bytes = NULL;
    if (head < 0x80) {
        token->kind = INT;
        token->number = head;
        return 0;
    }
    if (head >= 0xe0) {
        token->kind = NEGATIVE;
        token->number = (uint64_t)(int64_t)(int8_t)head;
        return 0;
    }
    if (head < 0xc0) {
        token->kind = head < 0x90 ? MAP : head < 0xa0 ? ARRAY : TEXT;
        token->number = head < 0xa0 ? head & 15 : head & 31;
    } else {
        switch (head) {
        case 0xc0: token->kind = NIL; token->number = 0; return 0;
        case 0xc4: case 0xc5: case 0xc6: token->kind = BYTES; width = 1 << (head - 0xc4); break;
        case 0xcb: token->kind = DOUBLE; width = 8; break;
        case 0xcc: case 0xcd: case 0xce: case 0xcf: token->kind = INT; width = 1 << (head - 0xcc); break;
        case 0xd0: case 0xd1: case 0xd2: case 0xd3: token->kind = NEGATIVE; width = 1 << (head - 0xd0); break;
        case 0xd9: case 0xda: case 0xdb: token->kind = TEXT; width = 1 << (head - 0xd9); break;
        case 0xdc: case 0xdd: token->kind = ARRAY; width = 2 << (head - 0xdc); break;
        case 0xde: case 0xdf: token->kind = MAP; width = 2 << (head - 0xde); break;
        default: return -1;
        }
        if (reader->end - reader->at < width) return -1;
        token->number = big_endian(reader->at, width);
        reader->at += width;
        if (token->kind == NEGATIVE) {
            token->number = (uint64_t)((int64_t)(token->number << (64 - 8 * width)) >> (64 - 8 * width));
            if (token->number < 1ULL << 63) token->kind = INT;
        }
    }
    uint64_t left = (uint64_t)(reader->end - reader->at);
    if (token->kind == TEXT || token->kind == BYTES) {
        if (token->number > left) return -1;
        token->bytes = reader->at;
        reader->at += token->number;
    } else if (token->kind == ARRAY || token->kind == MAP) {
        if (token->number > left) return -1; /* an element has a byte at least */
    }
    return 0;
}

static inline int is_text(const Token *token, const char *text, size_t length)
{
    return token->kind == TEXT && token->number == length && !memcmp(token->bytes, text, length);
}
#define IS(token, text) is_text(token, text, sizeof(text) - 1)

/* Fields of events, by position. */
enum { TYPE, HASHES, PARENT, TOKENS, SIZE, LORA_ID, MEDIUM, LORA_NAME, EXTRA, GROUP, SPEC, WINDOW, FIELDS };
enum { REMOVED_MEDIUM = 2, REMOVED_GROUP = 3, REMOVED_FIELDS = 4 };

static const char *const NAMES[FIELDS] = {
    "type", "block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name",
    "extra_keys", "group_idx", "kv_cache_spec_kind", "kv_cache_spec_sliding_window",
};

/* Return what a position of a removal is among those of all fields. */
static inline int field_at(int is_stored, int position)
{
    if (is_stored || position < REMOVED_MEDIUM) return position;
    return position == REMOVED_MEDIUM ? MEDIUM : GROUP;
}

/* Return the position of a field of which the name follows, -1 for one that is not known. */
static inline int field_named(Reader *reader, int is_stored, int expected)
{
    Token name;
    if (next(reader, &name) || name.kind != TEXT) return -1;
    int count = is_stored ? FIELDS : REMOVED_FIELDS;
    for (int i = 0; i < count; i++) { /* engines write them in order, some left out */
        int position = (expected + i) % count;
        const char *known = NAMES[field_at(is_stored, position)];
        if (is_text(&name, known, strlen(known))) return position;
    }
    return -1;
}

#endif
