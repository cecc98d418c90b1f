/* What of the core is compiled: hashing token blocks, reading common messages, and the tables of the index.
 *
 * Rules:
 *
 * 1. What is answered is exactly what Python's implementation answers. Everything else, above all what is wrong, is
 *    answered with None: it takes Python's way, which also says what is wrong with it.
 * 2. Nothing is read before it was compared with the end of its buffer, and nothing is allocated for a number that a
 *    peer declares before that many bytes are there.
 * 3. Plain CPython API, little-endian machines with 128-bit integers; elsewhere it does not compile, and Python's
 *    implementation is used.
 */
#ifndef KVSYNC_CORE_H
#define KVSYNC_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__SIZEOF_INT128__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "this machine uses the Python implementation"
#endif

#pragma GCC visibility push(hidden)

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* hashing.c */

/* Fill `packed` with token ids of a list or tuple; -1, without an exception, for what is not one. */
int pack_tokens(PyObject *tokens, Py_ssize_t first, Py_ssize_t count, uint32_t *packed);
PyObject *core_block_hashes(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* decode.c */

PyObject *core_bind(PyObject *module, PyObject *args);
PyObject *core_decode(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* _core.c */

/* Note a class and where its slots of these names are; -1 with TypeError if it has no such slots. */
int bind_slots(PyTypeObject **type, Py_ssize_t *offsets, PyObject *given, PyObject *names);

/* index.c */

PyObject *core_bind_holding(PyObject *module, PyObject *args);
PyObject *core_apply(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *core_place(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *core_hide_all(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* walk.c */

PyObject *core_walk(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

#pragma GCC visibility pop

#endif
