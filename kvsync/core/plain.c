/* Reading a common message into memory that is used again for the next one. */
#include "plain.h"
#include "reader.h"

/* A hash or a token takes a byte at least, so that as many as a message has bytes are enough. */
static struct {
    uint64_t *hashes, *own;
    uint32_t *tokens;
    size_t size, hash_count, token_count;
} room;

static PlainBatch batch;

static int make_room(size_t length)
{
    if (length <= room.size) return 0;
    size_t size = length < 4096 ? 4096 : 2 * length;
    uint64_t *hashes = PyMem_Malloc(size * sizeof(uint64_t)), *own = PyMem_Malloc(size * sizeof(uint64_t));
    uint32_t *tokens = PyMem_Malloc(size * sizeof(uint32_t));
    if (!hashes || !own || !tokens) {
        PyMem_Free(hashes);
        PyMem_Free(own);
        PyMem_Free(tokens);
        PyErr_NoMemory();
        return -1;
    }
    PyMem_Free(room.hashes);
    PyMem_Free(room.own);
    PyMem_Free(room.tokens);
    room.hashes = hashes;
    room.own = own;
    room.tokens = tokens;
    room.size = size;
    return 0;
}

static int read_plain_hash(const Token *token, uint64_t *hash)
{
    *hash = token->number;
    if (token->kind == INT || token->kind == NEGATIVE) return 0;
    if (token->kind != BYTES || !token->number) return -1;
    int width = token->number < 8 ? (int)token->number : 8;
    *hash = big_endian(token->bytes + token->number - width, width);
    return 0;
}

static int read_plain_hashes(Reader *reader, const Token *head, PlainEvent *event)
{
    if (head->kind != ARRAY) return -1;
    uint64_t *into = room.hashes + room.hash_count;
    for (uint64_t i = 0; i < head->number; i++) {
        Token token;
        if (next(reader, &token) || read_plain_hash(&token, into + i)) return -1;
    }
    event->hashes = into;
    event->count = (uint32_t)head->number;
    room.hash_count += head->number;
    return 0;
}

/* Of the heads of unsigned integers up to 32 bits: how many bytes follow, where the number ends in five bytes, and
 * that there is another one. Without branches, as engines mix numbers of three and five bytes. */
static const uint8_t WIDTH[256] = {[0xcc] = 1, [0xcd] = 2, [0xce] = 4};
static const uint8_t SHIFT[256] = {[0 ... 127] = 32, [0xcc] = 24, [0xcd] = 16, [0xce] = 0};
static const uint32_t MASK[5] = {0xff, 0xff, 0xffff, 0, 0xffffffff};
static const uint8_t IS_OTHER[256] = {[128 ... 0xcb] = 1, [0xcf ... 255] = 1};

static int read_plain_tokens(Reader *reader, const Token *head, PlainEvent *event)
{
    if (head->kind != ARRAY) return -1;
    uint32_t *into = room.tokens + room.token_count;
    uint64_t i = 0;
    const uint8_t *at = reader->at;
    uint8_t is_other = 0;
    for (; i < head->number && reader->end - at >= 5 && !is_other; i++) {
        uint32_t tail;
        memcpy(&tail, at + 1, 4);
        uint64_t number = (uint64_t)*at << 32 | __builtin_bswap32(tail);
        uint8_t width = WIDTH[*at];
        into[i] = (uint32_t)(number >> SHIFT[*at]) & MASK[width];
        is_other = IS_OTHER[*at];
        at += 1 + width;
    }
    if (is_other) { /* a larger or a negative one is read again below */
        i = 0;
        at = reader->at;
    }
    reader->at = at;
    for (; i < head->number; i++) {
        Token token;
        if (next(reader, &token) || token.kind != INT || token.number > UINT32_MAX) return -1;
        into[i] = (uint32_t)token.number;
    }
    event->tokens = into;
    event->token_count = (uint32_t)head->number;
    room.token_count += head->number;
    return 0;
}

static int read_nils(Reader *reader, const Token *head, PlainEvent *event)
{
    if (head->kind == NIL) return 0;
    if (head->kind != ARRAY) return -1;
    for (uint64_t i = 0; i < head->number; i++) {
        Token token;
        if (next(reader, &token) || token.kind != NIL) return -1;
    }
    event->extras = (uint32_t)head->number;
    event->has_extras = 1;
    return 0;
}

static int is_full_attention(const Token *token)
{
    return IS(token, "full_attention") || IS(token, "mla_attention") || IS(token, "sink_full_attention");
}

static int read_plain_field(Reader *reader, int field, PlainEvent *event)
{
    Token token;
    if (next(reader, &token)) return -1;
    switch (field) {
    case HASHES: return read_plain_hashes(reader, &token, event);
    case TOKENS: return read_plain_tokens(reader, &token, event);
    case EXTRA: return read_nils(reader, &token, event);
    case PARENT:
        event->has_parent = token.kind != NIL;
        return event->has_parent ? read_plain_hash(&token, &event->parent) : 0;
    case SIZE:
        event->size = (uint32_t)token.number;
        return token.kind == INT && token.number < 1 << 20 ? 0 : -1;
    case MEDIUM: return token.kind == NIL || IS(&token, "GPU") || IS(&token, "") ? 0 : -1;
    case GROUP:
        event->has_group = token.kind == INT;
        event->group = event->has_group ? token.number : 0;
        return token.kind == INT || token.kind == NIL ? 0 : -1;
    case SPEC:
        event->is_full_attention = (uint8_t)is_full_attention(&token);
        return event->is_full_attention || token.kind == NIL ? 0 : -1;
    case WINDOW: return token.kind == INT || token.kind == NIL ? 0 : -1;
    default: return token.kind == NIL ? 0 : -1; /* adapters */
    }
}

static int read_plain_event(Reader *reader, PlainEvent *event)
{
    Token head, tag;
    memset(event, 0, sizeof(*event));
    if (next(reader, &head) || (head.kind != ARRAY && head.kind != MAP) || !head.number) return -1;
    if (head.kind == MAP && (next(reader, &tag) || !IS(&tag, "type"))) return -1;
    if (next(reader, &tag)) return -1;
    event->is_stored = (uint8_t)IS(&tag, "BlockStored");
    if (!event->is_stored && !IS(&tag, "BlockRemoved")) return -1;
    uint32_t seen = 0;
    int count = event->is_stored ? FIELDS : REMOVED_FIELDS;
    if (head.number > (uint64_t)count) return -1;
    for (int i = 1; i < (int)head.number; i++) {
        int position = head.kind == ARRAY ? i : field_named(reader, event->is_stored, i);
        if (position < 1 || seen >> position & 1) return -1;
        seen |= 1U << position;
        if (read_plain_field(reader, field_at(event->is_stored, position), event)) return -1;
    }
    uint32_t needed = event->is_stored ? 1 << HASHES | 1 << TOKENS | 1 << SIZE : 1 << HASHES;
    return (seen & needed) == needed ? 0 : -1;
}

PlainBatch *plain_read(const uint8_t *bytes, size_t length)
{
    Reader reader = {bytes, bytes + length};
    Token head, ts, events, rank = {NIL, 0, NULL};
    if (length > MOST_BYTES || make_room(length)) return NULL;
    room.hash_count = room.token_count = 0;
    if (next(&reader, &head) || head.kind != ARRAY || (head.number != 2 && head.number != 3)) return NULL;
    if (next(&reader, &ts) || ts.kind != DOUBLE) return NULL;
    if (next(&reader, &events) || events.kind != ARRAY || events.number > MOST_EVENTS) return NULL;
    for (uint64_t i = 0; i < events.number; i++)
        if (read_plain_event(&reader, batch.events + i)) return NULL;
    if ((head.number == 3 && next(&reader, &rank)) || reader.at != reader.end) return NULL;
    if (rank.kind != INT && rank.kind != NIL) return NULL;
    batch.count = (uint32_t)events.number;
    batch.has_rank = rank.kind == INT;
    batch.rank = rank.number;
    batch.own = room.own;
    return &batch;
}
