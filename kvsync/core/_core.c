/* What of the core is compiled: hashing token blocks and reading common messages.
 *
 * Rules:
 *
 * 1. What is answered is exactly what Python's implementation answers. Everything else, above all what is wrong, is
 *    answered with None: it takes Python's way, which also says what is wrong with it.
 * 2. Nothing is read before it was compared with the end of its buffer, and nothing is allocated for a number that a
 *    peer declares before that many bytes are there.
 * 3. Plain CPython API, little-endian machines with 128-bit integers; elsewhere it does not compile, and Python's
 *    implementation is used.
 *
 * The hash is XXH3_64bits_withSeed of xxHash (Yann Collet, BSD 2-Clause), whose secret and constants these are.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>

#if !defined(__SIZEOF_INT128__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "this machine uses the Python implementation"
#endif

/* ---- XXH3, 64 bits ---- */

static const uint8_t SECRET[192] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};

#define P32_1 0x9E3779B1U
#define P32_2 0x85EBCA77U
#define P32_3 0xC2B2AE3DU
#define P64_1 0x9E3779B185EBCA87ULL
#define P64_2 0xC2B2AE3D27D4EB4FULL
#define P64_3 0x165667B19E3779F9ULL
#define P64_4 0x85EBCA77C2B2AE63ULL
#define P64_5 0x27D4EB2F165667C5ULL
#define STRIPE 64
#define STRIPES_PER_BLOCK 16

static inline uint64_t read64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline uint32_t read32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t rotl(uint64_t v, int n) { return (v << n) | (v >> (64 - n)); }

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t avalanche(uint64_t h)
{
    h ^= h >> 37;
    h *= 0x165667919E3779F9ULL;
    return h ^ (h >> 32);
}

static inline uint64_t mix16(const uint8_t *in, const uint8_t *secret, uint64_t seed)
{
    return fold(read64(in) ^ (read64(secret) + seed), read64(in + 8) ^ (read64(secret + 8) - seed));
}

static uint64_t hash_4_to_8(const uint8_t *in, size_t len, uint64_t seed)
{
    seed ^= (uint64_t)__builtin_bswap32((uint32_t)seed) << 32;
    uint64_t flip = (read64(SECRET + 8) ^ read64(SECRET + 16)) - seed;
    uint64_t h = (read32(in + len - 4) + ((uint64_t)read32(in) << 32)) ^ flip;
    h ^= rotl(h, 49) ^ rotl(h, 24);
    h *= 0x9FB21C651E98DF25ULL;
    h ^= (h >> 35) + len;
    h *= 0x9FB21C651E98DF25ULL;
    return h ^ (h >> 28);
}

static uint64_t hash_9_to_16(const uint8_t *in, size_t len, uint64_t seed)
{
    uint64_t low = read64(in) ^ ((read64(SECRET + 24) ^ read64(SECRET + 32)) + seed);
    uint64_t high = read64(in + len - 8) ^ ((read64(SECRET + 40) ^ read64(SECRET + 48)) - seed);
    return avalanche(len + __builtin_bswap64(low) + high + fold(low, high));
}

static uint64_t hash_17_to_128(const uint8_t *in, size_t len, uint64_t seed)
{
    uint64_t acc = len * P64_1;
    for (int i = (int)(len - 1) / 32; i >= 0; i--) {
        acc += mix16(in + 16 * i, SECRET + 32 * i, seed);
        acc += mix16(in + len - 16 * (i + 1), SECRET + 32 * i + 16, seed);
    }
    return avalanche(acc);
}

static uint64_t hash_129_to_240(const uint8_t *in, size_t len, uint64_t seed)
{
    uint64_t acc = len * P64_1;
    int rounds = (int)(len / 16), i = 0;
    for (; i < 8; i++)
        acc += mix16(in + 16 * i, SECRET + 16 * i, seed);
    acc = avalanche(acc);
    for (; i < rounds; i++)
        acc += mix16(in + 16 * i, SECRET + 16 * (i - 8) + 3, seed);
    return avalanche(acc + mix16(in + len - 16, SECRET + 136 - 17, seed));
}

static inline void accumulate(uint64_t *acc, const uint8_t *in, const uint8_t *secret)
{
    for (int i = 0; i < 8; i++) {
        uint64_t value = read64(in + 8 * i), key = value ^ read64(secret + 8 * i);
        acc[i ^ 1] += value;
        acc[i] += (uint64_t)(uint32_t)key * (key >> 32);
    }
}

static uint64_t hash_long(const uint8_t *in, size_t len, uint64_t seed)
{
    uint64_t acc[8] = {P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1};
    uint8_t secret[192];
    for (int i = 0; i < 192; i += 16) {
        uint64_t low = read64(SECRET + i) + seed, high = read64(SECRET + i + 8) - seed;
        memcpy(secret + i, &low, 8);
        memcpy(secret + i + 8, &high, 8);
    }
    size_t stripes = (len - 1) / STRIPE;
    for (size_t n = 0; n < stripes; n++) {
        accumulate(acc, in + n * STRIPE, secret + 8 * (n % STRIPES_PER_BLOCK));
        if (n % STRIPES_PER_BLOCK == STRIPES_PER_BLOCK - 1)
            for (int i = 0; i < 8; i++)
                acc[i] = (acc[i] ^ (acc[i] >> 47) ^ read64(secret + 128 + 8 * i)) * P32_1;
    }
    accumulate(acc, in + len - STRIPE, secret + 192 - STRIPE - 7);
    uint64_t h = len * P64_1;
    for (int i = 0; i < 4; i++)
        h += fold(acc[2 * i] ^ read64(secret + 11 + 16 * i), acc[2 * i + 1] ^ read64(secret + 19 + 16 * i));
    return avalanche(h);
}

/* Hash whole token ids: `len` is a multiple of 4, and not 0. */
static uint64_t hash_block(const uint8_t *in, size_t len, uint64_t seed)
{
    if (len <= 8) return hash_4_to_8(in, len, seed);
    if (len <= 16) return hash_9_to_16(in, len, seed);
    if (len <= 128) return hash_17_to_128(in, len, seed);
    if (len <= 240) return hash_129_to_240(in, len, seed);
    return hash_long(in, len, seed);
}

/* Read a token id as Python's struct does; -1 for what it refuses, with or without an exception set. */
static inline int read_token(PyObject *item, uint32_t *token)
{
    if (PyLong_CheckExact(item)) {
#if PY_VERSION_HEX >= 0x030C0000
        if (PyUnstable_Long_IsCompact((PyLongObject *)item)) {
            Py_ssize_t value = PyUnstable_Long_CompactValue((PyLongObject *)item);
            *token = (uint32_t)value;
            return value < 0 ? -1 : 0;
        }
#else
        Py_ssize_t size = Py_SIZE(item);
        if (size == 0 || size == 1) {
            *token = size ? (uint32_t)((PyLongObject *)item)->ob_digit[0] : 0;
            return 0;
        }
#endif
        unsigned long value = PyLong_AsUnsignedLong(item);
        *token = (uint32_t)value;
        return value > UINT32_MAX ? -1 : 0; /* also of an error, which is ULONG_MAX */
    }
    return -1;
}

/* Fill `packed` with `count` token ids; 0, or -1 for what is not one of them. */
static int pack(PyObject *tokens, Py_ssize_t count, uint32_t *packed)
{
    PyObject **items = PyList_CheckExact(tokens) ? ((PyListObject *)tokens)->ob_item : ((PyTupleObject *)tokens)->ob_item;
    for (Py_ssize_t i = 0; i < count; i++)
        if (read_token(items[i], packed + i) < 0) return -1;
    return 0;
}

static PyObject *chain(const uint8_t *packed, Py_ssize_t blocks, size_t size, uint64_t value)
{
    PyObject *made = PyList_New(blocks);
    for (Py_ssize_t i = 0; made && i < blocks; i++) {
        value = hash_block(packed + i * size, size, value);
        PyObject *item = PyLong_FromUnsignedLongLong(value);
        if (!item) Py_CLEAR(made);
        else PyList_SET_ITEM(made, i, item);
    }
    return made;
}

#define STACK_TOKENS 1024

static PyObject *hash_sequence(PyObject *tokens, Py_ssize_t block_size, uint64_t value)
{
    uint32_t few[STACK_TOKENS], *packed = few;
    Py_ssize_t blocks = Py_SIZE(tokens) / block_size, count = blocks * block_size;
    if (count > STACK_TOKENS && !(packed = PyMem_Malloc(count * sizeof(uint32_t)))) return PyErr_NoMemory();
    PyObject *made = NULL;
    if (!pack(tokens, count, packed)) {
        made = chain((const uint8_t *)packed, blocks, 4 * (size_t)block_size, value);
    } else {
        PyErr_Clear();
        made = Py_NewRef(Py_None);
    }
    if (packed != few) PyMem_Free(packed);
    return made;
}

PyDoc_STRVAR(block_hashes_doc,
"block_hashes(token_ids, block_size, value, /)\n--\n\n"
"Hash blocks of a list, a tuple or an array('I') as kvsync.hashing does, after `value`; None: take Python's way.");

static PyObject *block_hashes(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 3) return PyErr_Format(PyExc_TypeError, "block_hashes takes 3 arguments, not %zd", nargs);
    Py_ssize_t block_size = PyLong_AsSsize_t(args[1]);
    uint64_t value = PyLong_AsUnsignedLongLong(args[2]);
    if (PyErr_Occurred() || block_size < 1 || block_size > PY_SSIZE_T_MAX / 8) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    if (PyList_CheckExact(args[0]) || PyTuple_CheckExact(args[0])) return hash_sequence(args[0], block_size, value);
    Py_buffer view;
    if (!PyObject_CheckBuffer(args[0]) || PyObject_GetBuffer(args[0], &view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    PyObject *made = NULL;
    if (view.ndim == 1 && view.itemsize == 4 && view.format && !strcmp(view.format, "I"))
        made = chain(view.buf, view.len / 4 / block_size, 4 * (size_t)block_size, value);
    else
        made = Py_NewRef(Py_None);
    PyBuffer_Release(&view);
    return made;
}

/* ---- msgpack ---- */

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
        case 0xc0: token->kind = NIL; return 0;
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

/* ---- events ---- */

enum { TYPE, HASHES, PARENT, TOKENS, SIZE, LORA_ID, MEDIUM, LORA_NAME, EXTRA, GROUP, SPEC, WINDOW, FIELDS };
enum { REMOVED_MEDIUM = 2, REMOVED_GROUP = 3, REMOVED_FIELDS = 4 };

static const char *const NAMES[FIELDS] = {
    "type", "block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name",
    "extra_keys", "group_idx", "kv_cache_spec_kind", "kv_cache_spec_sliding_window",
};

/* A class of frozen values with slots: what is made of it, and where its fields are, in order. */
typedef struct {
    PyTypeObject *type;
    Py_ssize_t offsets[FIELDS];
} Class;

static struct {
    Class stored, removed, batch;
    PyObject *cleared, *gpu, *nothing; /* the one clearing, "GPU", () */
} bound;

typedef struct {
    uint64_t events, hashes, tokens;
} Limits;

static PyObject *make(const Class *class, PyObject **values, int count)
{
    PyObject *made = NULL;
    int is_whole = 1;
    for (int i = 0; i < count; i++)
        is_whole &= values[i] != NULL;
    if (is_whole && (made = class->type->tp_alloc(class->type, 0)))
        for (int i = 0; i < count; i++)
            *(PyObject **)((char *)made + class->offsets[i]) = Py_NewRef(values[i]);
    for (int i = 0; i < count; i++)
        Py_XDECREF(values[i]);
    return made;
}

/* What follows return NULL for what takes Python's way, with an exception only if memory ran out. */

static PyObject *optional_int(const Token *token)
{
    if (token->kind == NIL) return Py_NewRef(Py_None);
    if (token->kind == INT) return PyLong_FromUnsignedLongLong(token->number);
    if (token->kind == NEGATIVE) return PyLong_FromLongLong((long long)token->number);
    return NULL;
}

static PyObject *optional_text(const Token *token)
{
    if (token->kind == NIL) return Py_NewRef(Py_None);
    if (token->kind != TEXT) return NULL;
    /* Python checks what is not ASCII. */
    return PyUnicode_DecodeASCII((const char *)token->bytes, (Py_ssize_t)token->number, NULL);
}

static PyObject *medium(const Token *token)
{
    if (token->kind == NIL || IS(token, "GPU") || IS(token, "")) return Py_NewRef(bound.gpu);
    return optional_text(token);
}

static PyObject *hash(const Token *token)
{
    if (token->kind == INT || token->kind == NEGATIVE) return PyLong_FromUnsignedLongLong(token->number);
    if (token->kind != BYTES || !token->number) return NULL;
    int width = token->number < 8 ? (int)token->number : 8;
    return PyLong_FromUnsignedLongLong(big_endian(token->bytes + token->number - width, width));
}

static PyObject *array_of(const Token *head, Reader *reader, uint64_t limit, PyObject *(*read)(const Token *))
{
    if (head->kind != ARRAY || head->number > limit) return NULL;
    PyObject *made = PyTuple_New((Py_ssize_t)head->number);
    for (uint64_t i = 0; made && i < head->number; i++) {
        Token token;
        PyObject *item = next(reader, &token) ? NULL : read(&token);
        if (!item) Py_CLEAR(made);
        else PyTuple_SET_ITEM(made, (Py_ssize_t)i, item);
    }
    return made;
}

static PyObject *token_id(const Token *token)
{
    return token->kind == INT && token->number <= UINT32_MAX ? PyLong_FromUnsignedLong((unsigned long)token->number) : NULL;
}

static PyObject *only_nil(const Token *token)
{
    return token->kind == NIL ? Py_NewRef(Py_None) : NULL;
}

/* Read the field at `position` into `value`; -1 for what takes Python's way. */
static int read_field(Reader *reader, int is_stored, int position, const Limits *limits, PyObject **value)
{
    Token token;
    if (next(reader, &token)) return -1;
    if (!is_stored && position >= REMOVED_MEDIUM) position = position == REMOVED_MEDIUM ? MEDIUM : GROUP;
    switch (position) {
    case HASHES: *value = array_of(&token, reader, limits->hashes, hash); break;
    case PARENT: *value = token.kind == NIL ? Py_NewRef(Py_None) : hash(&token); break;
    case TOKENS: *value = array_of(&token, reader, limits->tokens, token_id); break;
    case SIZE: *value = token.kind == INT ? optional_int(&token) : NULL; break;
    case MEDIUM: *value = medium(&token); break;
    case LORA_NAME: case SPEC: *value = optional_text(&token); break;
    case EXTRA:
        *value = token.kind == NIL ? Py_NewRef(Py_None) : array_of(&token, reader, limits->hashes, only_nil);
        break;
    default: *value = optional_int(&token);
    }
    return *value ? 0 : -1;
}

/* Return the position of a field of which the name follows, -1 for one that is not known. */
static int field_named(Reader *reader, int is_stored, int expected)
{
    Token name;
    if (next(reader, &name) || name.kind != TEXT) return -1;
    int count = is_stored ? FIELDS : REMOVED_FIELDS;
    for (int i = 0; i < count; i++) { /* engines write them in order, some left out */
        int position = (expected + i) % count;
        int known = is_stored || position < REMOVED_MEDIUM ? position : position == REMOVED_MEDIUM ? MEDIUM : GROUP;
        if (is_text(&name, NAMES[known], strlen(NAMES[known]))) return position;
    }
    return -1;
}

static PyObject *read_fields(Reader *reader, const Token *head, int is_stored, const Limits *limits)
{
    PyObject *values[FIELDS] = {NULL};
    int count = is_stored ? FIELDS : REMOVED_FIELDS;
    if (head->number > (uint64_t)count) return NULL;
    for (int i = 1; i < (int)head->number; i++) {
        int position = head->kind == ARRAY ? i : field_named(reader, is_stored, i);
        if (position < 1 || values[position] || read_field(reader, is_stored, position, limits, values + position))
            goto python;
    }
    for (int i = is_stored ? LORA_ID : REMOVED_MEDIUM; i < count; i++)
        if (!values[i]) values[i] = Py_NewRef(i == (is_stored ? MEDIUM : REMOVED_MEDIUM) ? bound.gpu : Py_None);
    if (is_stored && !values[PARENT]) values[PARENT] = Py_NewRef(Py_None);
    if (is_stored) return make(&bound.stored, values + 1, FIELDS - 1);
    PyObject *removed[REMOVED_FIELDS] = {values[1], values[2], values[3], Py_NewRef(Py_None)};
    return make(&bound.removed, removed, REMOVED_FIELDS);
python:
    for (int i = 0; i < FIELDS; i++)
        Py_XDECREF(values[i]);
    return NULL;
}

static PyObject *read_event(Reader *reader, const Limits *limits)
{
    Token head, tag;
    if (next(reader, &head) || (head.kind != ARRAY && head.kind != MAP) || !head.number) return NULL;
    if (head.kind == MAP && (next(reader, &tag) || !IS(&tag, "type"))) return NULL;
    if (next(reader, &tag)) return NULL;
    if (IS(&tag, "BlockStored")) return read_fields(reader, &head, 1, limits);
    if (IS(&tag, "BlockRemoved")) return read_fields(reader, &head, 0, limits);
    return IS(&tag, "AllBlocksCleared") && head.number == 1 ? Py_NewRef(bound.cleared) : NULL;
}

static PyObject *read_batch(Reader *reader, const Limits *limits)
{
    Token head, ts, events, rank = {NIL, 0, NULL};
    if (next(reader, &head) || head.kind != ARRAY || (head.number != 2 && head.number != 3)) return NULL;
    if (next(reader, &ts) || ts.kind != DOUBLE) return NULL;
    if (next(reader, &events) || events.kind != ARRAY || events.number > limits->events) return NULL;
    PyObject *values[4] = {NULL, PyTuple_New((Py_ssize_t)events.number), NULL, Py_NewRef(bound.nothing)};
    int is_read = values[1] != NULL;
    for (uint64_t i = 0; is_read && i < events.number; i++) {
        PyObject *event = read_event(reader, limits);
        if (event) PyTuple_SET_ITEM(values[1], (Py_ssize_t)i, event);
        else is_read = 0;
    }
    if (is_read && !(head.number == 3 && next(reader, &rank)) && reader->at == reader->end) {
        double seconds;
        memcpy(&seconds, &ts.number, 8);
        values[0] = PyFloat_FromDouble(seconds);
        values[2] = optional_int(&rank);
    }
    return make(&bound.batch, values, 4);
}

PyDoc_STRVAR(decode_doc,
"decode(payload, events, hashes, tokens, /)\n--\n\n"
"Read a message as kvsync.codec does, within these limits; None: take Python's way.");

static PyObject *decode(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 4 || !PyBytes_CheckExact(args[0]) || !bound.cleared) Py_RETURN_NONE;
    const uint8_t *at = (const uint8_t *)PyBytes_AS_STRING(args[0]);
    Reader reader = {at, at + PyBytes_GET_SIZE(args[0])};
    Limits limits;
    limits.events = PyLong_AsUnsignedLongLong(args[1]);
    limits.hashes = PyLong_AsUnsignedLongLong(args[2]);
    limits.tokens = PyLong_AsUnsignedLongLong(args[3]);
    /* The longest of these bounds every array, an event's own included. */
    int is_narrow = limits.events < FIELDS && limits.hashes < FIELDS && limits.tokens < FIELDS;
    PyObject *batch = is_narrow || PyErr_Occurred() ? NULL : read_batch(&reader, &limits);
    if (batch) return batch;
    if (PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_MemoryError)) return NULL;
        PyErr_Clear();
    }
    Py_RETURN_NONE;
}

static int bind_class(Class *class, PyObject *type, PyObject *names)
{
    Py_ssize_t count = PySequence_Size(names);
    if (!PyType_Check(type) || count < 0 || count > FIELDS) {
        PyErr_SetString(PyExc_TypeError, "a class and the names of its slots are needed");
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name = PySequence_GetItem(names, i);
        PyObject *slot = name ? PyObject_GetAttr(type, name) : NULL;
        int is_slot = slot && Py_IS_TYPE(slot, &PyMemberDescr_Type)
                      && ((PyMemberDescrObject *)slot)->d_member->type == T_OBJECT_EX;
        if (is_slot) class->offsets[i] = ((PyMemberDescrObject *)slot)->d_member->offset;
        Py_XDECREF(slot);
        Py_XDECREF(name);
        if (!is_slot) {
            if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "a field is not a slot");
            return -1;
        }
    }
    Py_XSETREF(class->type, (PyTypeObject *)Py_NewRef(type));
    return 0;
}

PyDoc_STRVAR(bind_doc,
"bind(stored, removed, batch, cleared, gpu, /)\n--\n\n"
"Say what to make: the classes with the names of their slots, the one clearing and the medium of old.");

static PyObject *bind(PyObject *module, PyObject *args)
{
    PyObject *stored, *stored_names, *removed, *removed_names, *batch, *batch_names, *cleared, *gpu;
    if (!PyArg_ParseTuple(args, "(OO)(OO)(OO)OO", &stored, &stored_names, &removed, &removed_names, &batch,
                          &batch_names, &cleared, &gpu))
        return NULL;
    if (PySequence_Size(stored_names) != FIELDS - 1 || PySequence_Size(removed_names) != REMOVED_FIELDS
        || PySequence_Size(batch_names) != 4)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "other fields than were known when this was built");
    if (bind_class(&bound.stored, stored, stored_names) || bind_class(&bound.removed, removed, removed_names)
        || bind_class(&bound.batch, batch, batch_names))
        return NULL;
    Py_XSETREF(bound.gpu, Py_NewRef(gpu));
    Py_XSETREF(bound.nothing, PyTuple_New(0));
    Py_XSETREF(bound.cleared, Py_NewRef(cleared));
    Py_RETURN_NONE;
}

static PyMethodDef METHODS[] = {
    {"bind", bind, METH_VARARGS, bind_doc},
    {"block_hashes", (PyCFunction)(void (*)(void))block_hashes, METH_FASTCALL, block_hashes_doc},
    {"decode", (PyCFunction)(void (*)(void))decode, METH_FASTCALL, decode_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "kvsync._core", "What of the core is compiled (see kvsync.core).", -1, METHODS,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModule_Create(&MODULE);
}
