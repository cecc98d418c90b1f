/* Applying common messages to the tables of one source (see kvsync.index.prefixes, whose rules these are). A message
 * is applied to its end, or takes Python's way before anything is changed.
 */
#include "source.h"
#include "xxh3.h"

typedef struct {
    uint64_t messages, rank, stored_events, removed_events, stored, removed, unkeyed, unknown;
    uint8_t has_rank;
} Done;

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

/* The key of `sharers` of a block without an adapter. */
static PyObject *sharer(uint64_t own)
{
    return Py_BuildValue("sK", "", own);
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

static int place(Source *source, uint64_t hash, uint64_t own, Done *done)
{
    size_t before = source->blocks->length;
    uint64_t *block = table_add(source->blocks, hash, 1);
    if (!block) return -1;
    done->stored++;
    if (source->blocks->length == before) return add_copy(source, hash);
    *block = own;
    source->xor ^= hash;
    return show(source, own, done);
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
    for (uint32_t i = 0; i < event->count; i++)
        if (place(source, event->hashes[i], own[i], done)) return -1;
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
    Py_SETREF(*source_slot(source->self, IS_FULL), Py_NewRef(Py_True));
    done->removed_events++;
    return 0;
}

static int note_xor(const Source *source)
{
    PyObject *number = PyLong_FromUnsignedLongLong(source->xor);
    if (!number) return -1;
    Py_SETREF(*source_slot(source->self, XOR), number);
    return 0;
}

static int apply(Source *source, const PlainBatch *batch, Done *done)
{
    int result = 0;
    for (uint32_t i = 0; !result && i < batch->count; i++) {
        const PlainEvent *event = batch->events + i;
        result = event->is_stored ? store(source, event, batch->own, done) : take(source, event, batch->own, done);
    }
    return note_xor(source) ? -1 : result;
}

/* Py_BuildValue() would cost more than all else of a small message. */
static PyObject *told(const Done *done)
{
    const uint64_t counts[] = {done->messages, done->rank, done->stored_events, done->removed_events, done->stored,
                               done->removed, done->unkeyed, done->unknown};
    PyObject *made = PyTuple_New(8);
    if (!made) return NULL;
    for (int i = 0; i < 8; i++) {
        PyObject *item = i == 1 && !done->has_rank ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(counts[i]);
        PyTuple_SET_ITEM(made, i, item);
    }
    for (int i = 0; i < 8; i++)
        if (!PyTuple_GET_ITEM(made, i)) {
            Py_DECREF(made);
            return NULL;
        }
    return made;
}

/* Apply a message if it is common: 1; 0 if it is not. -1 with an exception: some of it may have been applied. */
static int apply_one(Source *source, PyObject *holding, PyObject *payload, Done *done)
{
    PlainBatch *batch = NULL;
    int is_fit = 0;
    if (PyBytes_CheckExact(payload) && !source_look(holding, source)) {
        batch = plain_read((const uint8_t *)PyBytes_AS_STRING(payload), (size_t)PyBytes_GET_SIZE(payload));
        is_fit = batch ? source_fits(source, batch) : 0;
    }
    if (is_fit <= 0) {
        if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_MemoryError)) return -1;
        PyErr_Clear();
        return 0;
    }
    if (apply(source, batch, done)) return -1;
    done->messages++;
    done->has_rank = batch->has_rank;
    done->rank = batch->rank;
    return 1;
}

PyObject *core_apply(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    Source source;
    Done done = {0};
    if (nargs != 5 || !PyDict_Check(args[0]) || !(PyList_Check(args[4]) || PyTuple_Check(args[4])))
        return PyErr_Format(PyExc_TypeError, "apply takes a dict, three more arguments and a list or tuple");
    PyObject *holding = PyDict_GetItemWithError(args[0], args[3]);
    if (!holding && PyErr_Occurred()) return NULL;
    source.room = PyLong_AsUnsignedLongLong(args[1]);
    source.seed = PyLong_AsUnsignedLongLong(args[2]);
    int is_applied = holding && !PyErr_Occurred();
    PyErr_Clear();
    for (Py_ssize_t i = 0; is_applied && i < PySequence_Fast_GET_SIZE(args[4]); i++) {
        is_applied = apply_one(&source, holding, PySequence_Fast_GET_ITEM(args[4], i), &done);
        if (is_applied < 0) return NULL;
    }
    if (!done.messages) Py_RETURN_NONE;
    return told(&done);
}

/* ---- blocks of events that took Python's way ---- */

/* Fill `numbers` from a list or tuple; -1, without an exception, for what is not an unsigned 64-bit integer. */
static int read_numbers(PyObject *sequence, Py_ssize_t count, uint64_t *numbers)
{
    PyObject **items = PySequence_Fast_ITEMS(sequence);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!PyLong_Check(items[i])) return -1;
        numbers[i] = PyLong_AsUnsignedLongLong(items[i]);
        if (numbers[i] == UINT64_MAX && PyErr_Occurred()) {
            PyErr_Clear();
            return -1;
        }
    }
    return 0;
}

static PyObject *place_all(Source *source, const uint64_t *hashes, const uint64_t *owns, Py_ssize_t count)
{
    Done done = {0};
    uint64_t dropped = 0;
    int result = 0;
    for (Py_ssize_t i = 0; !result && i < count; i++) {
        if (i % 64 == 0)
            for (Py_ssize_t j = i; j < count && j < i + 64; j++) {
                table_prefetch(source->blocks, hashes[j]);
                table_prefetch(source->masks, owns[j]);
            }
        if (source->blocks->length >= source->room && !source_holds(source, hashes[i])) dropped++;
        else result = place(source, hashes[i], owns[i], &done);
    }
    if (note_xor(source) || result) return NULL;
    return Py_BuildValue("KKK", done.stored, dropped, done.unkeyed);
}

PyObject *core_place(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    Source source = {0};
    if (nargs != 5) return PyErr_Format(PyExc_TypeError, "place takes 5 arguments, not %zd", nargs);
    PyObject *holding = args[0], *masks = args[1], *hashes = args[2], *owns = args[3];
    if (!(PyList_Check(hashes) || PyTuple_Check(hashes)) || !(PyList_Check(owns) || PyTuple_Check(owns)))
        Py_RETURN_NONE;
    source.room = PyLong_AsUnsignedLongLong(args[4]);
    source.masks = (Table *)masks;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(hashes);
    if (PyErr_Occurred() || source_look_at_blocks(holding, &source) || !Py_IS_TYPE(masks, &TableType)
        || count != PySequence_Fast_GET_SIZE(owns)) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    uint64_t *numbers = PyMem_Malloc((2 * (size_t)count + 1) * sizeof(uint64_t));
    if (!numbers) return PyErr_NoMemory();
    PyObject *made = NULL;
    if (read_numbers(hashes, count, numbers) || read_numbers(owns, count, numbers + count)) made = Py_NewRef(Py_None);
    else made = place_all(&source, numbers, numbers + count, count);
    PyMem_Free(numbers);
    return made;
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
