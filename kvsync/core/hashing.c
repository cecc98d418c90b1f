/* Hashing blocks of token ids as kvsync.hashing does. */
#include "xxh3.h"

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

int pack_tokens(PyObject *tokens, Py_ssize_t first, Py_ssize_t count, uint32_t *packed)
{
    PyObject **items = PyList_CheckExact(tokens) ? ((PyListObject *)tokens)->ob_item : ((PyTupleObject *)tokens)->ob_item;
    for (Py_ssize_t i = 0; i < count; i++)
        if (read_token(items[first + i], packed + i) < 0) {
            PyErr_Clear();
            return -1;
        }
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
    if (!pack_tokens(tokens, 0, count, packed)) {
        made = chain((const uint8_t *)packed, blocks, 4 * (size_t)block_size, value);
    } else {
        made = Py_NewRef(Py_None);
    }
    if (packed != few) PyMem_Free(packed);
    return made;
}

PyObject *core_block_hashes(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
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
