/* The module: what Python sees of the compiled core. */
#include "core.h"
#include "table.h"
#include <structmember.h>

int bind_slots(PyTypeObject **type, Py_ssize_t *offsets, PyObject *given, PyObject *names)
{
    Py_ssize_t count = PySequence_Size(names);
    if (!PyType_Check(given) || count < 0) {
        PyErr_SetString(PyExc_TypeError, "a class and the names of its slots are needed");
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name = PySequence_GetItem(names, i);
        PyObject *slot = name ? PyObject_GetAttr(given, name) : NULL;
        int is_slot = slot && Py_IS_TYPE(slot, &PyMemberDescr_Type)
                      && ((PyMemberDescrObject *)slot)->d_member->type == T_OBJECT_EX;
        if (is_slot) offsets[i] = ((PyMemberDescrObject *)slot)->d_member->offset;
        Py_XDECREF(slot);
        Py_XDECREF(name);
        if (!is_slot) {
            if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "a field is not a slot");
            return -1;
        }
    }
    Py_XSETREF(*type, (PyTypeObject *)Py_NewRef(given));
    return 0;
}

PyDoc_STRVAR(bind_doc,
"bind(stored, removed, batch, cleared, gpu, /)\n--\n\n"
"Say what to make: the classes with the names of their slots, the one clearing and the medium of old.");

PyDoc_STRVAR(decode_doc,
"decode(payload, events, hashes, tokens, /)\n--\n\n"
"Read a message as kvsync.codec does, within these limits; None: take Python's way.");

PyDoc_STRVAR(block_hashes_doc,
"block_hashes(token_ids, block_size, value, /)\n--\n\n"
"Hash blocks of a list, a tuple or an array('I') as kvsync.hashing does, after `value`; None: take Python's way.");

PyDoc_STRVAR(bind_holding_doc,
"bind_holding(holding, names, /)\n--\n\n"
"Say where the fields of kvsync.index.holding are: the class and the names that index.c lists.");

PyDoc_STRVAR(apply_doc,
"apply(holdings, room, seed, source, payloads, /)\n--\n\n"
"Apply messages of a source, one after the other, to what it holds, at most `room` blocks, up to the first that is\n"
"not common. Returns how many were, the rank that the last of them names, and how many events were of stored and of\n"
"removed blocks, how many blocks were stored, removed, unkeyed and unknown_removed; None, and nothing is changed:\n"
"take Python's way with the first.");

PyDoc_STRVAR(place_doc,
"place(holding, masks, hashes, owns, room, /)\n--\n\n"
"Add a copy of each block, `room` blocks at most. Returns how many were stored, dropped and unkeyed; None, and\n"
"nothing is changed: take Python's way.");

PyDoc_STRVAR(hide_all_doc,
"hide_all(blocks, masks, number, /)\n--\n\n"
"Take bit `number` out of the masks of all blocks of a source.");

PyDoc_STRVAR(walk_doc,
"walk(masks, hashes, token_ids, block_size, seed, /)\n--\n\n"
"Go along a prompt: blocks whose own hashes are known, then those of `token_ids` behind them (which begin at the\n"
"prompt's first). Returns (depth, mask) wherever sources end, in order; None: take Python's way.");

#define FAST(function) (PyCFunction)(void (*)(void))function, METH_FASTCALL

static PyMethodDef METHODS[] = {
    {"apply", FAST(core_apply), apply_doc},
    {"bind", core_bind, METH_VARARGS, bind_doc},
    {"bind_holding", core_bind_holding, METH_VARARGS, bind_holding_doc},
    {"block_hashes", FAST(core_block_hashes), block_hashes_doc},
    {"decode", FAST(core_decode), decode_doc},
    {"hide_all", FAST(core_hide_all), hide_all_doc},
    {"place", FAST(core_place), place_doc},
    {"walk", FAST(core_walk), walk_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "kvsync._core", "What of the core is compiled (see kvsync.core).", -1, METHODS,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__core(void)
{
    PyObject *module = PyModule_Create(&MODULE);
    if (module && table_ready(module)) Py_CLEAR(module);
    return module;
}
