"""Which implementation decodes, hashes and indexes: the compiled one, where it was built, or Python's.

The compiled one (`core.h`) answers what is common and well formed and leaves everything else to Python's, so
that it can be faster and never different. It is built when kvsync is installed where a C compiler is.
"""

from dataclasses import fields
from importlib import import_module
from types import ModuleType

from kvsync.errors import ConfigError
from kvsync.events import GPU, AllBlocksCleared, BlockRemoved, BlockStored, EventBatch

CLEARED = AllBlocksCleared()
"""The one that is read: it has no fields."""


def _load() -> ModuleType | None:
    try:
        module = import_module("kvsync._core")  # by name: it is no module of Python's
        read = (BlockStored, BlockRemoved, EventBatch)
        module.bind(*((kind, [field.name for field in fields(kind)]) for kind in read), CLEARED, GPU)
    except (ImportError, TypeError):  # not built, for another Python, or for events with other fields
        return None
    return module if hasattr(module, "Table") else None  # else built of a release that had no index in it


built = _load()
"""The compiled implementation; None where there is none."""

compiled = built
"""What is used now; None: Python's implementation."""


def choose(name: str) -> None:
    """Use `python` or `native` from now on in this process; `auto`: native, where it was built.

    Raises ConfigError for a name that is not one of these, and for `native` where it was not built.
    """
    global compiled
    if name not in ("auto", "python", "native"):
        raise ConfigError("core", [f"core: {name!r} is not auto, python or native (KVSYNC_CORE)"])
    if name == "native" and built is None:
        raise ConfigError(
            "core", ["core: native was not built when kvsync was installed: install it where a C compiler is"]
        )
    compiled = None if name == "python" else built


def chosen() -> str:
    """Return which is used: `python` or `native`."""
    return "python" if compiled is None else "native"
