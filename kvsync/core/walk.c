/* Going along a prompt, block by block, until no source holds any more of it (see kvsync.index.prefixes, rule 5). */
#include "table.h"
#include "xxh3.h"

#define FIRST 8 /* blocks that are hashed at once; a prompt that nothing holds of then costs no more */
#define MOST 128
#define FEW_WORDS 4
#define MOST_TOKENS 4096 /* of so many blocks at once */

typedef struct {
    uint64_t few[FEW_WORDS], *alive; /* NULL before the first block */
    uint32_t words;
    Py_ssize_t depth;
    PyObject *ends;
} Walk;

typedef struct {
    PyObject *items; /* a list or tuple, or NULL: `packed` has all */
    const uint32_t *packed;
    Py_ssize_t blocks, at, block_size;
    uint64_t value;
} Tokens;

/* Note that the sources of a mask hold no more; -1 with MemoryError. */
static int end(Walk *walk, const uint64_t *mask, uint32_t words)
{
    PyObject *number = table_number(mask, words), *pair = number ? Py_BuildValue("nN", walk->depth, number) : NULL;
    int result = pair ? PyList_Append(walk->ends, pair) : -1;
    Py_XDECREF(pair);
    return result;
}

static int begin(Walk *walk, const uint64_t *mask, uint32_t words)
{
    walk->alive = words <= FEW_WORDS ? walk->few : PyMem_Malloc(words * sizeof(uint64_t));
    if (!walk->alive) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(walk->alive, mask, words * sizeof(uint64_t));
    walk->words = words;
    walk->depth = 1;
    return 1;
}

/* Take the next block; 1: go on, 0: the sources have all ended. -1 with MemoryError. */
static int step(Walk *walk, const Table *masks, uint64_t own)
{
    uint32_t words = 0;
    const uint64_t *mask = table_find(masks, own, &words);
    if (!walk->alive) return mask ? begin(walk, mask, words) : 0;
    if (!mask) words = 0;
    int has_lost = 0, is_alive = 0;
    for (uint32_t i = 0; i < walk->words; i++)
        has_lost |= (walk->alive[i] & ~(i < words ? mask[i] : 0)) != 0;
    if (has_lost) {
        uint64_t few[FEW_WORDS], *lost = walk->words <= FEW_WORDS ? few : PyMem_Malloc(walk->words * sizeof(uint64_t));
        if (!lost) {
            PyErr_NoMemory();
            return -1;
        }
        for (uint32_t i = 0; i < walk->words; i++) {
            lost[i] = walk->alive[i] & ~(i < words ? mask[i] : 0);
            walk->alive[i] &= ~lost[i];
            is_alive |= walk->alive[i] != 0;
        }
        int result = end(walk, lost, walk->words);
        if (lost != few) PyMem_Free(lost);
        if (result || !is_alive) return result;
    }
    walk->depth++;
    return 1;
}

static int steps(Walk *walk, const Table *masks, const uint64_t *owns, Py_ssize_t count)
{
    int goes_on = 1;
    for (Py_ssize_t i = 0; i < count; i++)
        table_prefetch(masks, owns[i]);
    for (Py_ssize_t i = 0; goes_on > 0 && i < count; i++)
        goes_on = step(walk, masks, owns[i]);
    return goes_on;
}

/* Go along own hashes; 2 for what takes Python's way. */
static int along_hashes(Walk *walk, const Table *masks, PyObject *hashes, uint64_t *last)
{
    uint64_t owns[MOST];
    Py_ssize_t count = PyList_GET_SIZE(hashes), chunk;
    int goes_on = 1;
    for (Py_ssize_t at = 0; goes_on == 1 && at < count; at += chunk) {
        chunk = count - at < MOST ? count - at : MOST;
        if (!at && chunk > FIRST) chunk = FIRST;
        for (Py_ssize_t i = 0; i < chunk; i++) {
            PyObject *item = PyList_GET_ITEM(hashes, at + i);
            if (!PyLong_Check(item)) return 2;
            owns[i] = PyLong_AsUnsignedLongLong(item);
            if (owns[i] == UINT64_MAX && PyErr_Occurred()) {
                PyErr_Clear();
                return 2;
            }
        }
        *last = owns[chunk - 1];
        goes_on = steps(walk, masks, owns, chunk);
    }
    return goes_on;
}

/* Go along blocks of tokens; 2 for what takes Python's way. */
static int along_tokens(Walk *walk, const Table *masks, Tokens *tokens)
{
    uint64_t owns[MOST];
    uint32_t packed[MOST_TOKENS];
    size_t size = 4 * (size_t)tokens->block_size;
    Py_ssize_t most = MOST_TOKENS / tokens->block_size, chunk = FIRST;
    int goes_on = 1;
    if (most > MOST) most = MOST;
    while (goes_on == 1 && tokens->at < tokens->blocks) {
        if (chunk > most) chunk = most;
        if (chunk > tokens->blocks - tokens->at) chunk = tokens->blocks - tokens->at;
        Py_ssize_t first = tokens->at * tokens->block_size;
        if (tokens->items && pack_tokens(tokens->items, first, chunk * tokens->block_size, packed)) return 2;
        const uint8_t *bytes = (const uint8_t *)(tokens->items ? packed : tokens->packed + first);
        for (Py_ssize_t i = 0; i < chunk; i++) {
            owns[i] = tokens->value = hash_block(bytes + i * size, size, tokens->value);
            table_prefetch(masks, owns[i]);
        }
        goes_on = steps(walk, masks, owns, chunk);
        tokens->at += chunk;
        chunk *= 4;
    }
    return goes_on;
}

static int along(Walk *walk, const Table *masks, PyObject *hashes, PyObject *token_ids, Py_ssize_t size, uint64_t seed)
{
    Tokens tokens = {.block_size = size, .at = PyList_GET_SIZE(hashes), .value = seed};
    int goes_on = along_hashes(walk, masks, hashes, &tokens.value);
    if (goes_on != 1 || token_ids == Py_None) return goes_on;
    if (size < 1 || size > MOST_TOKENS) return 2;
    if (PyList_CheckExact(token_ids) || PyTuple_CheckExact(token_ids)) {
        tokens.items = token_ids;
        tokens.blocks = Py_SIZE(token_ids) / size;
        return along_tokens(walk, masks, &tokens);
    }
    Py_buffer view;
    if (!PyObject_CheckBuffer(token_ids) || PyObject_GetBuffer(token_ids, &view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)) {
        PyErr_Clear();
        return 2;
    }
    if (view.ndim == 1 && view.itemsize == 4 && view.format && !strcmp(view.format, "I")) {
        tokens.packed = view.buf;
        tokens.blocks = view.len / 4 / size;
        goes_on = along_tokens(walk, masks, &tokens);
    } else {
        goes_on = 2;
    }
    PyBuffer_Release(&view);
    return goes_on;
}

PyObject *core_walk(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 5) return PyErr_Format(PyExc_TypeError, "walk takes 5 arguments, not %zd", nargs);
    if (!Py_IS_TYPE(args[0], &TableType) || !PyList_CheckExact(args[1])) Py_RETURN_NONE;
    Py_ssize_t size = PyLong_AsSsize_t(args[3]);
    uint64_t seed = PyLong_AsUnsignedLongLong(args[4]);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    const Table *masks = (const Table *)args[0];
    Walk walk = {.ends = PyList_New(0)};
    int result = walk.ends ? along(&walk, masks, args[1], args[2], size, seed) : -1;
    if (result == 1 && walk.alive && end(&walk, walk.alive, walk.words)) result = -1;
    if (walk.alive && walk.alive != walk.few) PyMem_Free(walk.alive);
    if (result == -1 || result == 2) Py_CLEAR(walk.ends);
    if (result == 2) Py_RETURN_NONE;
    return walk.ends;
}
