"""Runs a program of Python under a profiler, with the interpreter of any project.

    python profile_runner.py time|memory FILE.html -m MODULE WORD...
    python profile_runner.py time|memory FILE.html PROGRAM.py WORD...

Like the runner of coverage, it imports nothing of ours. Without the profiler the program is run all the same.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROFILERS = {"time": "pyinstrument", "memory": "memray"}


@contextmanager
def profiled(kind: str, target: Path) -> Iterator[None]:
    """Write a page about what runs inside: where its time went, or its memory at the peak."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if find_spec(PROFILERS[kind]) is None:
        said = f"no profile: there is no {PROFILERS[kind]} for this interpreter"
        target.with_suffix(".txt").write_text(f"{said}; install it, such as with `prepare`")
        yield
    elif kind == "time":
        import pyinstrument

        profiler = pyinstrument.Profiler()
        profiler.start()
        try:
            yield
        finally:
            profiler.stop()
            target.write_text(profiler.output_html(), encoding="utf-8")
    else:
        import memray

        raw = target.with_suffix(".bin")
        try:
            with memray.Tracker(raw):
                yield
        finally:
            words = [sys.executable, "-m", "memray", "flamegraph", "--force", "--output", str(target)]
            for scripts in (["--no-web"], []):  # else the page loads its scripts; old versions know no other
                if not subprocess.run(
                    [*words, *scripts, str(raw)], check=False, stdout=subprocess.DEVNULL
                ).returncode:
                    break
            raw.unlink(missing_ok=True)


def main(kind: str, target: str, program: str, *words: str) -> None:
    """Run what the words after the profile say, as an interpreter would."""
    is_module = program == "-m"
    sys.path[0] = str(Path.cwd() if is_module else Path(program).parent)
    sys.argv = list(words) if is_module else [program, *words]
    with profiled(kind, Path(target)):
        if is_module:
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
