"""What a process of the pipeline knows is for itself alone: others of the same user cannot look into it.

The kernel lets no one read the environment, the memory or the open files of a process that is not "dumpable",
nor trace it, except root. Tests run as the pipeline's user where nothing confines them, and its processes
hold tokens. Executing a program makes a process dumpable again: what a concealed process starts is not
concealed by that. Run as a file, this one is the beginning of such a program:

    python concealment.py MODULE WORDS...   as `python -m MODULE WORDS...`, concealed before anything else

From the start of Python to there it can be looked into, for some hundredths of a second.
"""

import ctypes
import os
import runpy
import sys
from pathlib import Path

PR_SET_DUMPABLE = 4


def conceal() -> None:
    """Conceal this process for as long as it lives; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def concealed(module: str, *words: str) -> list[str]:
    """Return the command that runs a module concealed."""
    return [sys.executable, str(Path(__file__)), module, *words]


def become(module: str, words: list[str]) -> None:
    """Run a module as `python -m` does, in this process."""
    sys.argv = [module, *words]
    sys.path[0] = os.getcwd()  # noqa: PTH109  # as a text
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    conceal()
    become(sys.argv[1], sys.argv[2:])
