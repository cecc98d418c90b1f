/* Applying common messages to the tables of one source (see kvsync.index.prefixes, whose rules these are).
 *
 * A message is looked at as a whole before anything is changed: it is applied to its end, or takes Python's way.
 */
#include "plain.h"
#include "table.h"
#include "xxh3.h"

/* What of a kvsync.index.holding.Holding is read or written, in this order. */
enum {
    NUMBER, BLOCK_SIZE, ANNOUNCED_SIZE, BLOCKS, MASKS, LORAS, COPIES, SHARERS, ORPHANS, FULL_GROUP, GROUPS, KEYED,
    IS_FULL, XOR, SLOTS
};

static PyTypeObject *holding_type;
static Py_ssize_t offsets[SLOTS];
static PyObject *no_lora; /* "" */

/* The same, checked and in C. */
typedef struct {
    PyObject *self, *loras, *copies, *sharers;
    Table *blocks, *masks;
    uint64_t number, block_size, group, seed, room, xor;
    int is_keyed, is_full, knows_group;
} Source;

typedef struct {
    uint64_t stored_events, removed_events, stored, removed, unkeyed, unknown;
} Done;

PyObject *core_bind_holding(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *type, *names;
    if (!PyArg_ParseTuple(args, "OO", &type, &names)) return NULL;
    if (PySequence_Size(names) != SLOTS)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "other fields than were known when this was built");
    if (!no_lora && !(no_lora = PyUnicode_InternFromString(""))) return NULL;
    if (bind_slots(&holding_type, offsets, type, names)) return NULL;
    Py_RETURN_NONE;
}

static inline PyObject **slot(PyObject *holding, int which) { return (PyObject **)((char *)holding + offsets[which]); }

static int number_in(PyObject *holding, int which, uint64_t *number)
{
    PyObject *value = *slot(holding, which);
    if (!value || !PyLong_CheckExact(value)) return -1;
    *number = PyLong_AsUnsignedLongLong(value);
    return *number == UINT64_MAX && PyErr_Occurred() ? -1 : 0;
}

static PyObject *dict_in(PyObject *holding, int which)
{
    PyObject *value = *slot(holding, which);
    return value && PyDict_Check(value) ? value : NULL;
}

static Table *table_in(PyObject *holding, int which)
{
    PyObject *value = *slot(holding, which);
    return value && Py_IS_TYPE(value, &TableType) ? (Table *)value : NULL;
}

/* Look at a source; -1 for what takes Python's way. */
static int look(PyObject *holding, Source *source)
{
    PyObject *groups, *orphans, *group;
    if (!holding_type || !Py_IS_TYPE(holding, holding_type)) return -1;
    source->self = holding;
    source->blocks = table_in(holding, BLOCKS);
    source->masks = table_in(holding, MASKS);
    source->loras = dict_in(holding, LORAS);
    source->copies = dict_in(holding, COPIES);
    source->sharers = dict_in(holding, SHARERS);
    orphans = dict_in(holding, ORPHANS);
    groups = dict_in(holding, GROUPS);
    group = *slot(holding, FULL_GROUP);
    if (!source->blocks || !source->loras || !source->copies || !source->sharers || !orphans || !groups) return -1;
    if (PyDict_GET_SIZE(groups) || PyDict_GET_SIZE(orphans)) return -1;
    source->knows_group = group && group != Py_None;
    source->group = 0;
    if (source->knows_group && number_in(holding, FULL_GROUP, &source->group)) return -1;
    source->is_keyed = *slot(holding, KEYED) == Py_True;
    source->is_full = *slot(holding, IS_FULL) == Py_True;
    uint64_t announced;
    if (number_in(holding, NUMBER, &source->number) || number_in(holding, BLOCK_SIZE, &source->block_size)
        || number_in(holding, ANNOUNCED_SIZE, &announced) || number_in(holding, XOR, &source->xor))
        return -1;
    /* The last event was of blocks of another size: Python's way notes that this one is not. */
    if (announced != source->block_size) source->block_size = 0;
    return source->number >> 16 ? -1 : 0;
}

/* ---- whether a message is as most are ---- */

#define MOST_COMPARED 4096 /* numbers of a batch among each other */

typedef struct {
    const PlainBatch *batch;
    int budget;
} Before;

/* Whether a hash is in one of the first `count` events that store or remove; 1 also if that takes too long. */
static int is_before(Before *before, uint32_t count, int is_stored, uint64_t hash)
{
    for (uint32_t i = 0; i < count; i++) {
        const PlainEvent *event = before->batch->events + i;
        if (event->is_stored != is_stored) continue;
        before->budget -= (int)event->count;
        if (before->budget < 0) return 1;
        for (uint32_t j = 0; j < event->count; j++)
            if (event->hashes[j] == hash) return 1;
    }
    return 0;
}

static int is_held(const Source *source, uint64_t hash)
{
    uint32_t words;
    return table_find(source->blocks, hash, &words) != NULL;
}

/* Whether a run from the root could be announced again, as kvsync.index.reports decides. */
static int may_be_report(const Source *source, Before *before, uint32_t position, uint64_t evicted)
{
    const PlainEvent *event = before->batch->events + position;
    if (!source->is_full || event->has_parent || event->count < evicted + 2) return 0;
    for (uint32_t i = 0; i < event->count; i++)
        if (!is_held(source, event->hashes[i]) && !is_before(before, position, 1, event->hashes[i])) return 0;
    return 1;
}

/* Whether the parent of an event will be held when its turn comes. */
static int has_known_parent(const Source *source, Before *before, uint32_t position)
{
    const PlainEvent *event = before->batch->events + position;
    if (!event->has_parent) return 1;
    if (is_before(before, position, 0, event->parent)) return 0;
    if (is_held(source, event->parent)) return 1;
    for (uint32_t i = position; i-- > 0;) { /* not is_before(): doubt would be a yes */
        const PlainEvent *stored = before->batch->events + i;
        if (stored->is_stored && stored->hashes[stored->count - 1] == event->parent) return 1;
    }
    return 0;
}

static int fits_stored(const Source *source, const PlainEvent *event)
{
    if (!event->count || !event->size || event->size != source->block_size) return 0;
    if (event->token_count != (uint64_t)event->count * event->size) return 0;
    if (event->is_full_attention && !source->knows_group) return 0;
    if (event->group != source->group) return 0;
    return !event->has_extras || (source->is_keyed && event->extras >= event->count);
}

/* Whether removed blocks are none of an adapter; -1 with an exception. */
static int fits_removed(const Source *source, const PlainEvent *event)
{
    if (event->group != source->group) return 0;
    if (!PyDict_GET_SIZE(source->loras)) return 1;
    for (uint32_t i = 0; i < event->count; i++) {
        PyObject *hash = PyLong_FromUnsignedLongLong(event->hashes[i]);
        int is_there = hash ? PyDict_Contains(source->loras, hash) : -1;
        Py_XDECREF(hash);
        if (is_there) return is_there < 0 ? -1 : 0;
    }
    return 1;
}

/* Whether all of a message can be applied here; -1 with an exception. */
static int fits(const Source *source, const PlainBatch *batch)
{
    Before before = {batch, MOST_COMPARED};
    uint64_t evicted = 0, stored = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        const PlainEvent *event = batch->events + i;
        if (!event->is_stored) {
            int is_fit = fits_removed(source, event);
            if (is_fit <= 0) return is_fit;
            evicted += event->count;
            continue;
        }
        if (!fits_stored(source, event) || !has_known_parent(source, &before, i)) return 0;
        if (may_be_report(source, &before, i, evicted)) return 0;
        evicted = 0;
        stored += event->count;
    }
    /* A context that is empty may be another one by now, or none. */
    if (stored && (!source->masks || !source->masks->length)) return 0;
    return source->blocks->length + stored <= source->room;
}

/* ---- applying it ---- */

/* Return how often a key counts in a dict of counts above one; 0 with an exception. */
static uint64_t counted(PyObject *counts, PyObject *key)
{
    PyObject *found = PyDict_GetItemWithError(counts, key);
    if (found) return PyLong_AsUnsignedLongLong(found);
    return PyErr_Occurred() ? 0 : 1;
}

/* Let a key count so often; -1 with an exception. */
static int count(PyObject *counts, PyObject *key, uint64_t often)
{
    if (often < 2) return PyDict_DelItem(counts, key);
    PyObject *number = PyLong_FromUnsignedLongLong(often);
    int result = number ? PyDict_SetItem(counts, key, number) : -1;
    Py_XDECREF(number);
    return result;
}

static int add_copy(const Source *source, uint64_t hash)
{
    PyObject *key = PyLong_FromUnsignedLongLong(hash);
    uint64_t copies = key ? counted(source->copies, key) : 0;
    int result = copies ? count(source->copies, key, copies + 1) : -1;
    Py_XDECREF(key);
    return result;
}

static PyObject *sharer(uint64_t own)
{
    PyObject *number = PyLong_FromUnsignedLongLong(own), *key = number ? PyTuple_Pack(2, no_lora, number) : NULL;
    Py_XDECREF(number);
    return key;
}

static int show(const Source *source, uint64_t own, Done *done)
{
    uint32_t word = (uint32_t)(source->number / 64);
    uint64_t bit = (uint64_t)1 << source->number % 64, *mask = table_add(source->masks, own, word + 1);
    if (!mask) return -1;
    if (!(mask[word] & bit)) {
        mask[word] |= bit;
        return 0;
    }
    PyObject *key = sharer(own);
    uint64_t sharers = key ? counted(source->sharers, key) : 0;
    int result = sharers ? count(source->sharers, key, sharers + 1) : -1;
    Py_XDECREF(key);
    done->unkeyed++;
    return result;
}

static void take_bit(Table *masks, uint64_t own, uint64_t number)
{
    uint32_t words, word = (uint32_t)(number / 64);
    uint64_t *mask = table_find(masks, own, &words);
    if (!mask || word >= words) return;
    mask[word] &= ~((uint64_t)1 << number % 64);
    for (uint32_t i = 0; i < words; i++)
        if (mask[i]) return;
    table_erase(masks, own);
}

static int hide(const Source *source, uint64_t own)
{
    if (PyDict_GET_SIZE(source->sharers)) {
        PyObject *key = sharer(own);
        int is_there = key ? PyDict_Contains(source->sharers, key) : -1;
        if (is_there > 0) {
            uint64_t sharers = counted(source->sharers, key);
            is_there = sharers && !count(source->sharers, key, sharers - 1) ? 1 : -1;
        }
        Py_XDECREF(key);
        if (is_there) return is_there < 0 ? -1 : 0;
    }
    if (source->masks) take_bit(source->masks, own, source->number);
    return 0;
}

static int store(Source *source, const PlainEvent *event, uint64_t *own, Done *done)
{
    uint32_t words;
    size_t size = 4 * (size_t)event->size;
    uint64_t value = source->seed;
    if (event->has_parent) {
        const uint64_t *parent = table_find(source->blocks, event->parent, &words);
        if (!parent) {
            PyErr_SetString(PyExc_SystemError, "a parent that was held is gone");
            return -1;
        }
        value = *parent;
    }
    for (uint32_t i = 0; i < event->count; i++) {
        own[i] = value = hash_block((const uint8_t *)event->tokens + i * size, size, value);
        table_prefetch(source->blocks, event->hashes[i]);
        table_prefetch(source->masks, value);
    }
    for (uint32_t i = 0; i < event->count; i++) {
        size_t before = source->blocks->length;
        uint64_t *block = table_add(source->blocks, event->hashes[i], 1);
        if (!block) return -1;
        if (source->blocks->length == before) {
            if (add_copy(source, event->hashes[i])) return -1;
        } else {
            *block = own[i];
            source->xor ^= event->hashes[i];
            if (show(source, own[i], done)) return -1;
        }
    }
    done->stored += event->count;
    done->stored_events++;
    return 0;
}

/* Drop a copy of a block; 1 if it was the last, and `own` is its own hash. -1 with an exception. */
static int drop_copy(Source *source, uint64_t hash, uint64_t *own, Done *done)
{
    uint32_t words;
    const uint64_t *block = table_find(source->blocks, hash, &words);
    if (!block) {
        done->unknown++;
        return 0;
    }
    done->removed++;
    if (PyDict_GET_SIZE(source->copies)) {
        PyObject *key = PyLong_FromUnsignedLongLong(hash);
        uint64_t copies = key ? counted(source->copies, key) : 0;
        int result = !copies ? -1 : copies > 1 ? count(source->copies, key, copies - 1) : 0;
        Py_XDECREF(key);
        if (result || copies > 1) return result;
    }
    *own = *block;
    table_erase(source->blocks, hash);
    source->xor ^= hash;
    return 1;
}

static int take(Source *source, const PlainEvent *event, uint64_t *own, Done *done)
{
    uint32_t gone = 0;
    for (uint32_t i = 0; i < event->count; i++)
        table_prefetch(source->blocks, event->hashes[i]);
    for (uint32_t i = 0; i < event->count; i++) {
        int was_last = drop_copy(source, event->hashes[i], own + gone, done);
        if (was_last < 0) return -1;
        if (!was_last) continue;
        if (source->masks) table_prefetch(source->masks, own[gone]);
        gone++;
    }
    for (uint32_t i = 0; i < gone; i++)
        if (hide(source, own[i])) return -1;
    Py_SETREF(*slot(source->self, IS_FULL), Py_NewRef(Py_True));
    done->removed_events++;
    return 0;
}

static int apply(Source *source, const PlainBatch *batch, Done *done)
{
    int result = 0;
    for (uint32_t i = 0; !result && i < batch->count; i++) {
        const PlainEvent *event = batch->events + i;
        result = event->is_stored ? store(source, event, batch->own, done) : take(source, event, batch->own, done);
    }
    PyObject *number = PyLong_FromUnsignedLongLong(source->xor);
    if (!number) return -1;
    Py_SETREF(*slot(source->self, XOR), number);
    return result;
}

/* Py_BuildValue() would cost more than all else of a small message. */
static PyObject *told(const PlainBatch *batch, const Done *done)
{
    const uint64_t counts[] = {done->stored_events, done->removed_events, done->stored, done->removed, done->unkeyed,
                               done->unknown};
    PyObject *made = PyTuple_New(7);
    if (!made) return NULL;
    PyTuple_SET_ITEM(made, 0, batch->has_rank ? PyLong_FromUnsignedLongLong(batch->rank) : Py_NewRef(Py_None));
    for (int i = 0; i < 6; i++)
        PyTuple_SET_ITEM(made, i + 1, PyLong_FromUnsignedLongLong(counts[i]));
    for (int i = 0; i < 7; i++)
        if (!PyTuple_GET_ITEM(made, i)) {
            Py_DECREF(made);
            return NULL;
        }
    return made;
}

PyObject *core_apply(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    Source source;
    Done done = {0};
    if (nargs != 5 || !PyDict_Check(args[0]))
        return PyErr_Format(PyExc_TypeError, "apply takes a dict and four more arguments");
    PyObject *holding = PyDict_GetItemWithError(args[0], args[3]), *payload = args[4];
    if (!holding && PyErr_Occurred()) return NULL;
    source.room = PyLong_AsUnsignedLongLong(args[1]);
    source.seed = PyLong_AsUnsignedLongLong(args[2]);
    PlainBatch *batch = NULL;
    int is_fit = 0;
    if (holding && PyBytes_CheckExact(payload) && !PyErr_Occurred() && !look(holding, &source)) {
        batch = plain_read((const uint8_t *)PyBytes_AS_STRING(payload), (size_t)PyBytes_GET_SIZE(payload));
        is_fit = batch ? fits(&source, batch) : 0;
    }
    if (is_fit <= 0) {
        if (!PyErr_Occurred()) Py_RETURN_NONE;
        if (PyErr_ExceptionMatches(PyExc_MemoryError)) return NULL;
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    if (apply(&source, batch, &done)) return NULL;
    return told(batch, &done);
}

/* ---- forgetting all of a source ---- */

#define AHEAD 32

PyObject *core_hide_all(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 3 || !Py_IS_TYPE(args[0], &TableType) || !Py_IS_TYPE(args[1], &TableType))
        return PyErr_Format(PyExc_TypeError, "hide_all takes two tables and a number");
    const Table *blocks = (const Table *)args[0];
    Table *masks = (Table *)args[1];
    uint64_t number = PyLong_AsUnsignedLongLong(args[2]), owns[AHEAD];
    if (PyErr_Occurred()) return NULL;
    size_t at = 0;
    uint32_t waiting = 0;
    if (blocks->zero) take_bit(masks, *blocks->zero, number);
    for (const Segment *segment; (segment = table_next(blocks, &at));)
        for (uint32_t i = 0; i < segment->slots; i++) {
            const uint64_t *entry = table_slot(segment, i);
            if (!*entry) continue;
            table_prefetch(masks, entry[1]);
            owns[waiting++] = entry[1];
            if (waiting < AHEAD) continue;
            while (waiting)
                take_bit(masks, owns[--waiting], number);
        }
    while (waiting)
        take_bit(masks, owns[--waiting], number);
    Py_RETURN_NONE;
}
