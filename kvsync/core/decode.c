/* Reading common messages as values of kvsync.events. */
#include "reader.h"
#include <structmember.h>

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
    switch (field_at(is_stored, position)) {
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

PyObject *core_decode(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
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

PyObject *core_bind(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *stored, *stored_names, *removed, *removed_names, *batch, *batch_names, *cleared, *gpu;
    if (!PyArg_ParseTuple(args, "(OO)(OO)(OO)OO", &stored, &stored_names, &removed, &removed_names, &batch,
                          &batch_names, &cleared, &gpu))
        return NULL;
    if (PySequence_Size(stored_names) != FIELDS - 1 || PySequence_Size(removed_names) != REMOVED_FIELDS
        || PySequence_Size(batch_names) != 4)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "other fields than were known when this was built");
    if (bind_slots(&bound.stored.type, bound.stored.offsets, stored, stored_names) || bind_slots(&bound.removed.type, bound.removed.offsets, removed, removed_names)
        || bind_slots(&bound.batch.type, bound.batch.offsets, batch, batch_names))
        return NULL;
    Py_XSETREF(bound.gpu, Py_NewRef(gpu));
    Py_XSETREF(bound.nothing, PyTuple_New(0));
    Py_XSETREF(bound.cleared, Py_NewRef(cleared));
    Py_RETURN_NONE;
}
