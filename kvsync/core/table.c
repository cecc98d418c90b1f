/* The table of table.h, and what Python sees of it: a mapping of unsigned integers. */
#include "table.h"

#define FEWEST_SLOTS 8
#define MOST_SLOTS 2048
#define DEEPEST 28 /* beyond it a segment grows on: only hashes that are known could get there */

PyTypeObject TableType;
uint64_t table_secret[2];

static inline size_t size_of(uint32_t slots, uint32_t words)
{
    return (size_t)slots * (words + 1) * sizeof(uint64_t);
}

static inline uint32_t room_of(const Segment *segment) { return segment->slots - segment->slots / 5 - 1; }

/* Return the slot of a key or the free one where it belongs. */
static inline uint64_t *probe(const Segment *segment, uint64_t hash, uint64_t key)
{
    uint64_t *at = table_slot(segment, table_home(segment, hash)), *end = table_slot(segment, segment->slots);
    while (*at && *at != key) {
        at += segment->words + 1;
        if (at == end) at = segment->content;
    }
    return at;
}

static Segment *make_segment(Table *table, uint32_t slots, uint32_t words, uint32_t depth)
{
    Segment *made = PyMem_Calloc(1, sizeof(Segment));
    if (!made || !(made->content = PyMem_Calloc(1, size_of(slots, words)))) {
        PyMem_Free(made);
        PyErr_NoMemory();
        return NULL;
    }
    made->slots = slots;
    made->words = words;
    made->depth = depth;
    table->bytes += sizeof(Segment) + size_of(slots, words);
    return made;
}

static void drop_segment(Table *table, Segment *segment)
{
    table->bytes -= sizeof(Segment) + size_of(segment->slots, segment->words);
    PyMem_Free(segment->content);
    PyMem_Free(segment);
}

static void put(Segment *segment, uint64_t hash, const uint64_t *entry, uint32_t words)
{
    memcpy(probe(segment, hash, entry[0]), entry, (words + 1) * sizeof(uint64_t));
    segment->used++;
}

/* Put a segment where the directory leads with the first `depth` bits of a hash. */
static void enter(Table *table, Segment *segment, uint64_t hash)
{
    uint32_t below = table->depth - segment->depth;
    size_t first = segment->depth ? (size_t)(hash >> (64 - segment->depth)) << below : 0;
    for (size_t i = 0; i < (size_t)1 << below; i++)
        table->directory[first + i] = segment;
}

/* Give a segment other measures; NULL with MemoryError. */
static Segment *resized(Table *table, Segment *old, uint64_t hash, uint32_t slots, uint32_t words)
{
    Segment *made = make_segment(table, slots, words, old->depth);
    for (uint32_t i = 0; made && i < old->slots; i++) {
        const uint64_t *entry = table_slot(old, i);
        if (*entry) put(made, table_hash(*entry), entry, old->words);
    }
    if (!made) return NULL;
    enter(table, made, hash);
    drop_segment(table, old);
    return made;
}

static int deepen(Table *table)
{
    size_t count = (size_t)1 << table->depth;
    Segment **wider = PyMem_Malloc(2 * count * sizeof(Segment *));
    if (!wider) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < 2 * count; i++)
        wider[i] = table->directory[i / 2];
    PyMem_Free(table->directory);
    table->directory = wider;
    table->depth++;
    return 0;
}

/* Make two of a full segment; -1 with MemoryError. */
static int split(Table *table, Segment *old)
{
    if (old->depth == table->depth && deepen(table)) return -1;
    uint32_t counts[2] = {0, 0}, shift = 63 - old->depth;
    uint64_t hash = 0;
    for (uint32_t i = 0; i < old->slots; i++) {
        uint64_t key = *table_slot(old, i);
        if (!key) continue;
        hash = table_hash(key);
        counts[hash >> shift & 1]++;
    }
    Segment *halves[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        halves[i] = make_segment(table, counts[i] + counts[i] / 3 * 2 + FEWEST_SLOTS, old->words, old->depth + 1);
        if (!halves[i]) {
            if (i) drop_segment(table, halves[0]);
            return -1;
        }
    }
    for (uint32_t i = 0; i < old->slots; i++) {
        const uint64_t *entry = table_slot(old, i);
        if (!*entry) continue;
        uint64_t its = table_hash(*entry);
        put(halves[its >> shift & 1], its, entry, old->words);
    }
    uint64_t bit = (uint64_t)1 << shift;
    enter(table, halves[0], hash & ~bit);
    enter(table, halves[1], hash | bit);
    drop_segment(table, old);
    return 0;
}

static int grow(Table *table, Segment *segment, uint64_t hash)
{
    if (segment->slots >= MOST_SLOTS && segment->depth < DEEPEST) return split(table, segment);
    uint32_t more = segment->slots < 64 ? segment->slots : segment->slots / 2;
    uint32_t slots = segment->slots + more;
    if (slots > MOST_SLOTS && segment->slots < MOST_SLOTS) slots = MOST_SLOTS;
    return resized(table, segment, hash, slots, segment->words) ? 0 : -1;
}

uint64_t *table_find(const Table *table, uint64_t key, uint32_t *words)
{
    if (!key) {
        *words = table->zero_words;
        return table->zero;
    }
    if (!table->directory) return NULL;
    uint64_t hash = table_hash(key);
    const Segment *segment = table_segment(table, hash);
    uint64_t *at = probe(segment, hash, key);
    *words = segment->words;
    return *at ? at + 1 : NULL;
}

static uint64_t *add_zero(Table *table, uint32_t words)
{
    if (table->zero && table->zero_words >= words) return table->zero;
    uint64_t *made = PyMem_Calloc(words, sizeof(uint64_t));
    if (!made) {
        PyErr_NoMemory();
        return NULL;
    }
    if (table->zero) memcpy(made, table->zero, table->zero_words * sizeof(uint64_t));
    else table->length++;
    PyMem_Free(table->zero);
    table->zero = made;
    table->zero_words = words;
    return made;
}

uint64_t *table_add(Table *table, uint64_t key, uint32_t words)
{
    if (!key) return add_zero(table, words);
    if (!table->directory) {
        Segment **directory = PyMem_Malloc(sizeof(Segment *));
        Segment *first = directory ? make_segment(table, FEWEST_SLOTS, words, 0) : NULL;
        if (!first) {
            PyMem_Free(directory);
            PyErr_NoMemory();
            return NULL;
        }
        directory[0] = first;
        table->directory = directory;
    }
    uint64_t hash = table_hash(key);
    Segment *segment = table_segment(table, hash);
    if (segment->words < words && !(segment = resized(table, segment, hash, segment->slots, words))) return NULL;
    uint64_t *at = probe(segment, hash, key);
    if (*at) return at + 1;
    while (segment->used >= room_of(segment)) {
        if (grow(table, segment, hash)) return NULL;
        segment = table_segment(table, hash);
        at = probe(segment, hash, key);
    }
    *at = key;
    segment->used++;
    table->length++;
    return at + 1;
}

/* Free a slot and move back what stands behind it for want of its own. */
static void vacate(Segment *segment, uint32_t hole)
{
    size_t size = (segment->words + 1) * sizeof(uint64_t);
    for (uint32_t i = hole;;) {
        i = i + 1 == segment->slots ? 0 : i + 1;
        const uint64_t *entry = table_slot(segment, i);
        if (!*entry) break;
        uint32_t home = table_home(segment, table_hash(*entry));
        if (hole <= i ? hole < home && home <= i : hole < home || home <= i) continue;
        memcpy(table_slot(segment, hole), entry, size);
        hole = i;
    }
    memset(table_slot(segment, hole), 0, size);
    segment->used--;
}

void table_erase(Table *table, uint64_t key)
{
    if (!key) {
        PyMem_Free(table->zero);
        table->zero = NULL;
        table->zero_words = 0;
    } else {
        uint64_t hash = table_hash(key);
        Segment *segment = table_segment(table, hash);
        vacate(segment, (uint32_t)((probe(segment, hash, key) - segment->content) / (segment->words + 1)));
    }
    if (!--table->length) table_clear(table);
}

Segment *table_next(const Table *table, size_t *at)
{
    size_t end = table->directory ? (size_t)1 << table->depth : 0;
    if (*at >= end) return NULL;
    Segment *segment = table->directory[*at];
    *at += (size_t)1 << (table->depth - segment->depth);
    return segment;
}

void table_clear(Table *table)
{
    size_t at = 0;
    for (Segment *segment; (segment = table_next(table, &at));)
        drop_segment(table, segment);
    PyMem_Free(table->directory);
    PyMem_Free(table->zero);
    table->directory = NULL;
    table->zero = NULL;
    table->depth = table->zero_words = 0;
    table->length = table->bytes = 0;
}

/* ---- what Python sees ---- */

/* Read a key; -1 for what is none, without an exception. */
static int read_key(PyObject *item, uint64_t *key)
{
    if (!PyLong_Check(item)) return -1;
    *key = PyLong_AsUnsignedLongLong(item);
    if (*key != UINT64_MAX || !PyErr_Occurred()) return 0;
    PyErr_Clear();
    return -1;
}

PyObject *table_number(const uint64_t *value, uint32_t words)
{
    while (words > 1 && !value[words - 1])
        words--;
    if (words == 1) return PyLong_FromUnsignedLongLong(value[0]);
    return PyObject_CallMethod((PyObject *)&PyLong_Type, "from_bytes", "y#s", (const char *)value,
                               (Py_ssize_t)(words * sizeof(uint64_t)), "little");
}

static uint64_t *find_item(Table *table, PyObject *item, uint32_t *words)
{
    uint64_t key;
    return read_key(item, &key) ? NULL : table_find(table, key, words);
}

static PyObject *get(Table *table, PyObject *const *args, Py_ssize_t nargs)
{
    uint32_t words;
    if (nargs < 1 || nargs > 2) return PyErr_Format(PyExc_TypeError, "get takes 1 or 2 arguments, not %zd", nargs);
    const uint64_t *value = find_item(table, args[0], &words);
    if (value) return table_number(value, words);
    return Py_NewRef(nargs == 2 ? args[1] : Py_None);
}

static PyObject *subscript(PyObject *self, PyObject *item)
{
    uint32_t words;
    const uint64_t *value = find_item((Table *)self, item, &words);
    if (value) return table_number(value, words);
    PyErr_SetObject(PyExc_KeyError, item);
    return NULL;
}

static int store(Table *table, PyObject *item, PyObject *number)
{
    uint64_t key;
    if (read_key(item, &key)) {
        PyErr_Format(PyExc_OverflowError, "%R is not an unsigned 64-bit integer", item);
        return -1;
    }
    PyObject *bits = PyObject_CallMethod(number, "bit_length", NULL);
    long length = bits ? PyLong_AsLong(bits) : -1;
    Py_XDECREF(bits);
    if (length < 0) return -1;
    uint32_t words = length > 64 ? (uint32_t)((length + 63) / 64) : 1;
    PyObject *packed = PyObject_CallMethod(number, "to_bytes", "Is", words * 8, "little");
    uint64_t *value = packed ? table_add(table, key, words) : NULL;
    if (value) {
        uint32_t width;
        value = table_find(table, key, &width);
        memset(value, 0, width * sizeof(uint64_t));
        memcpy(value, PyBytes_AS_STRING(packed), words * sizeof(uint64_t));
    }
    Py_XDECREF(packed);
    return value ? 0 : -1;
}

static int store_item(PyObject *self, PyObject *item, PyObject *number)
{
    Table *table = (Table *)self;
    if (!number) {
        uint64_t key;
        uint32_t words;
        if (!read_key(item, &key) && table_find(table, key, &words)) {
            table_erase(table, key);
            return 0;
        }
        PyErr_SetObject(PyExc_KeyError, item);
        return -1;
    }
    uint64_t key, plain;
    if (read_key(item, &key) || read_key(number, &plain)) return store(table, item, number);
    uint64_t *value = table_add(table, key, 1);
    if (!value) return -1;
    uint32_t words;
    value = table_find(table, key, &words);
    memset(value, 0, words * sizeof(uint64_t));
    *value = plain;
    return 0;
}

static PyObject *pop(PyObject *self, PyObject *item)
{
    PyObject *value = subscript(self, item);
    if (value && store_item(self, item, NULL)) Py_CLEAR(value);
    return value;
}

static PyObject *copy(PyObject *self, PyObject *Py_UNUSED(none))
{
    const Table *table = (const Table *)self;
    PyObject *made = PyDict_New();
    size_t at = 0;
    if (made && table->zero) {
        PyObject *key = PyLong_FromLong(0), *value = table_number(table->zero, table->zero_words);
        if (!key || !value || PyDict_SetItem(made, key, value)) Py_CLEAR(made);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    for (const Segment *segment; made && (segment = table_next(table, &at));)
        for (uint32_t i = 0; made && i < segment->slots; i++) {
            const uint64_t *entry = table_slot(segment, i);
            if (!*entry) continue;
            PyObject *key = PyLong_FromUnsignedLongLong(*entry), *value = table_number(entry + 1, segment->words);
            if (!key || !value || PyDict_SetItem(made, key, value)) Py_CLEAR(made);
            Py_XDECREF(key);
            Py_XDECREF(value);
        }
    return made;
}

static PyObject *of_copy(PyObject *self, const char *method)
{
    PyObject *made = copy(self, NULL), *view = made ? PyObject_CallMethod(made, method, NULL) : NULL;
    Py_XDECREF(made);
    return view;
}

static PyObject *keys(PyObject *self, PyObject *Py_UNUSED(none)) { return of_copy(self, "keys"); }

static PyObject *items(PyObject *self, PyObject *Py_UNUSED(none)) { return of_copy(self, "items"); }

static PyObject *values(PyObject *self, PyObject *Py_UNUSED(none)) { return of_copy(self, "values"); }

static PyObject *iterate(PyObject *self)
{
    PyObject *made = copy(self, NULL), *iterator = made ? PyObject_GetIter(made) : NULL;
    Py_XDECREF(made);
    return iterator;
}

/* In order, so that equal tables are written alike. */
static PyObject *reduce(PyObject *self, PyObject *Py_UNUSED(none))
{
    PyObject *view = of_copy(self, "items"), *pairs = view ? PySequence_List(view) : NULL;
    Py_XDECREF(view);
    PyObject *iterator = pairs && !PyList_Sort(pairs) ? PyObject_GetIter(pairs) : NULL;
    Py_XDECREF(pairs);
    return iterator ? Py_BuildValue("O()OON", Py_TYPE(self), Py_None, Py_None, iterator) : NULL;
}

static PyObject *clear(PyObject *self, PyObject *Py_UNUSED(none))
{
    table_clear((Table *)self);
    Py_RETURN_NONE;
}

static PyObject *size(PyObject *self, PyObject *Py_UNUSED(none))
{
    const Table *table = (const Table *)self;
    size_t directory = table->directory ? sizeof(Segment *) << table->depth : 0;
    return PyLong_FromSize_t(sizeof(Table) + directory + table->bytes);
}

static Py_ssize_t length(PyObject *self) { return (Py_ssize_t)((Table *)self)->length; }

static int contains(PyObject *self, PyObject *item)
{
    uint32_t words;
    return find_item((Table *)self, item, &words) != NULL;
}

static void deallocate(PyObject *self)
{
    table_clear((Table *)self);
    Py_TYPE(self)->tp_free(self);
}

static PyMethodDef METHODS[] = {
    {"get", (PyCFunction)(void (*)(void))get, METH_FASTCALL, "Return the value of a key, or None or another default."},
    {"pop", pop, METH_O, "Return the value of a key and drop both. Raises KeyError."},
    {"copy", copy, METH_NOARGS, "Return a dict of the same content."},
    {"keys", keys, METH_NOARGS, "Return the keys of a copy."},
    {"values", values, METH_NOARGS, "Return the values of a copy."},
    {"items", items, METH_NOARGS, "Return the items of a copy."},
    {"clear", clear, METH_NOARGS, "Drop everything."},
    {"__reduce__", reduce, METH_NOARGS, "Return what pickle writes."},
    {"__sizeof__", size, METH_NOARGS, "Return how many bytes it takes."},
    {NULL, NULL, 0, NULL},
};

static PyMappingMethods MAPPING = {length, subscript, store_item};
static PySequenceMethods SEQUENCE = {.sq_contains = contains};

PyTypeObject TableType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "kvsync._core.Table",
    .tp_doc = "Unsigned 64-bit integers to unsigned integers, as a dict of them in a third of its memory.",
    .tp_basicsize = sizeof(Table),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_dealloc = deallocate,
    .tp_iter = iterate,
    .tp_as_mapping = &MAPPING,
    .tp_as_sequence = &SEQUENCE,
    .tp_methods = METHODS,
};

int table_ready(PyObject *module)
{
    static const char *const SALTS[2] = {"kvsync table", "kvsync keys"};
    for (int i = 0; i < 2; i++) { /* Python's hash of text has a secret of the process */
        PyObject *text = PyUnicode_FromString(SALTS[i]);
        if (!text) return -1;
        table_secret[i] = (uint64_t)PyObject_Hash(text) | (uint64_t)i;
        Py_DECREF(text);
    }
    return PyModule_AddType(module, &TableType);
}
