/* Whether a common message can be applied to a source as it is, looked at as a whole before anything is changed. */
#include "source.h"

static PyTypeObject *holding_type;
static Py_ssize_t offsets[SLOTS];

PyObject *core_bind_holding(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *type, *names;
    if (!PyArg_ParseTuple(args, "OO", &type, &names)) return NULL;
    if (PySequence_Size(names) != SLOTS)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "other fields than were known when this was built");
    if (bind_slots(&holding_type, offsets, type, names)) return NULL;
    Py_RETURN_NONE;
}

PyObject **source_slot(PyObject *holding, int which)
{
    return (PyObject **)((char *)holding + offsets[which]);
}

static int number_in(PyObject *holding, int which, uint64_t *number)
{
    PyObject *value = *source_slot(holding, which);
    if (!value || !PyLong_CheckExact(value)) return -1;
    *number = PyLong_AsUnsignedLongLong(value);
    return *number == UINT64_MAX && PyErr_Occurred() ? -1 : 0;
}

static PyObject *dict_in(PyObject *holding, int which)
{
    PyObject *value = *source_slot(holding, which);
    return value && PyDict_Check(value) ? value : NULL;
}

static Table *table_in(PyObject *holding, int which)
{
    PyObject *value = *source_slot(holding, which);
    return value && Py_IS_TYPE(value, &TableType) ? (Table *)value : NULL;
}

int source_look_at_blocks(PyObject *holding, Source *source)
{
    if (!holding_type || !Py_IS_TYPE(holding, holding_type)) return -1;
    source->self = holding;
    source->blocks = table_in(holding, BLOCKS);
    source->copies = dict_in(holding, COPIES);
    source->sharers = dict_in(holding, SHARERS);
    if (!source->blocks || !source->copies || !source->sharers) return -1;
    if (number_in(holding, NUMBER, &source->number) || number_in(holding, XOR, &source->xor)) return -1;
    return source->number >> 16 ? -1 : 0;
}

int source_look(PyObject *holding, Source *source)
{
    if (source_look_at_blocks(holding, source)) return -1;
    PyObject *orphans = dict_in(holding, ORPHANS), *groups = dict_in(holding, GROUPS);
    PyObject *group = *source_slot(holding, FULL_GROUP);
    source->masks = table_in(holding, MASKS);
    source->loras = dict_in(holding, LORAS);
    if (!source->loras || !orphans || !groups || PyDict_GET_SIZE(groups) || PyDict_GET_SIZE(orphans)) return -1;
    source->knows_group = group && group != Py_None;
    source->group = 0;
    if (source->knows_group && number_in(holding, FULL_GROUP, &source->group)) return -1;
    source->is_keyed = *source_slot(holding, KEYED) == Py_True;
    source->is_full = *source_slot(holding, IS_FULL) == Py_True;
    uint64_t announced;
    if (number_in(holding, BLOCK_SIZE, &source->block_size) || number_in(holding, ANNOUNCED_SIZE, &announced)) return -1;
    /* The last event was of blocks of another size: Python's way notes that this one is not. */
    if (announced != source->block_size) source->block_size = 0;
    return 0;
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

int source_holds(const Source *source, uint64_t hash)
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
        if (!source_holds(source, event->hashes[i]) && !is_before(before, position, 1, event->hashes[i])) return 0;
    return 1;
}

/* Whether the parent of an event will be held when its turn comes. */
static int has_known_parent(const Source *source, Before *before, uint32_t position)
{
    const PlainEvent *event = before->batch->events + position;
    if (!event->has_parent) return 1;
    if (is_before(before, position, 0, event->parent)) return 0;
    if (source_holds(source, event->parent)) return 1;
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
int source_fits(const Source *source, const PlainBatch *batch)
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
