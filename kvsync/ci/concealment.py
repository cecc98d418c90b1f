"""What a process of the pipeline knows is for itself alone: others of the same user cannot look into it.

The kernel lets no one read the environment, the memory or the open files of a process that is not "dumpable",
nor trace it, except root. Tests run as the pipeline's user where nothing confines them, and its processes
hold tokens. Executing a program makes a process dumpable again, so what a concealed process starts

- is not concealed by that. Run as a file, this one is the beginning of a program that is:

      python concealment.py SOCKET MODULE WORDS...   as `python -m MODULE WORDS...`, concealed before all else

- gets secrets not in its environment, where they could be read until then, but through a socket (SOCKET: its
  descriptor, or - for none), as JSON;
- inherits none: secrets are in `os.environ`, where libraries look for them, and nowhere else.

From the start of Python to there it can be traced, for some hundredths of a second.
"""

import ctypes
import json
import os
import runpy
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

PR_SET_DUMPABLE = 4

NOTHING = "-"
"""For a module that is handed nothing over."""

FOR_C = frozenset({"PGPASSWORD"})
"""What libpq looks up, which does not see `os.environ`."""


def conceal() -> None:
    """Conceal this process for as long as it lives; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def keep(secrets: Mapping[str, str]) -> None:
    """Have secrets in `os.environ`, without what this process starts inheriting them."""
    for name, value in secrets.items():
        os.environ[name] = value
        if name not in FOR_C:
            os.unsetenv(name)


def concealed(handed: int | str, module: str, *words: str) -> list[str]:
    """Return the command that runs a module concealed; `handed`: a descriptor of handing_over, or NOTHING."""
    return [sys.executable, str(Path(__file__)), str(handed), module, *words]


def sealed(secrets: Mapping[str, str]) -> AbstractContextManager[int]:
    """Hand secrets over to a process that is concealed, which has them in `os.environ`."""
    return handing_over(json.dumps(dict(secrets)))


@contextmanager
def handing_over(text: str) -> Iterator[int]:
    """Yield a descriptor for a process to inherit that is started meanwhile, which finds the text there.

    It is of a socket: a pipe or a file could be opened a second time while the process can be looked into.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.setblocking(
                False
            )  # the kernel keeps twice as much as an environment ever has; else an error
            ours.sendall(text.encode())
        yield theirs.fileno()


def receive(handed: str) -> None:
    """Take what was handed over to this process, once it is concealed."""
    if handed != NOTHING:
        with socket.socket(fileno=int(handed)) as theirs, theirs.makefile("rb") as file:
            keep(json.load(file))


def become(module: str, words: list[str]) -> None:
    """Run a module as `python -m` does, in this process."""
    sys.argv = [module, *words]
    sys.path[0] = os.getcwd()  # noqa: PTH109  # as a text
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    conceal()
    receive(sys.argv[1])
    become(sys.argv[2], sys.argv[3:])
