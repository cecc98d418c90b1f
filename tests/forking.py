"""Python programs in processes of their own, forked from one that has imported what they need.

Each has an environment, a folder and outputs of its own, ends as it likes and can be killed, like one that is
started anew; but importing is most of what that costs. `python -m tests.forking MODULE...` forks.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import psutil

COMMAND = "from deployments.cli import main; main()"
"""`kvsync-ci`."""


class Forking:
    """Runs programs one after the other."""

    def __init__(self, asked: IO[str], told: IO[str], folder: Path) -> None:
        self._asked, self._told, self._folder = asked, told, folder

    def __call__(
        self, code: str, *words: str, env: Mapping[str, str], cwd: Path
    ) -> "subprocess.CompletedProcess[str]":
        """Run `python -c CODE WORDS` to its end; what it prints anywhere is in the result's `stdout`."""
        output, argv = self._folder / "output", ["-c", *words]
        program = {"code": code, "argv": argv, "env": dict(env), "cwd": str(cwd), "output": str(output)}
        print(json.dumps(program), file=self._asked, flush=True)
        return subprocess.CompletedProcess(argv, int(self._told.readline()), output.read_text())


@contextmanager
def forking(*modules: str, env: Mapping[str, str] | None = None) -> Iterator[Forking]:
    """Import modules in a process that forks until left; a program that is then still running is killed.

    What a module reads from the environment as it is imported is read once, from `env`.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, *modules],
        cwd=Path(__file__).parents[1],
        env=env,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with TemporaryDirectory() as folder, process:
        try:
            yield Forking(process.stdin, process.stdout, Path(folder))
        finally:
            for program in psutil.Process(process.pid).children(recursive=True):
                program.kill()


def fork(lines: IO[str]) -> None:
    """Fork for each line, and say how the program ended."""
    for line in lines:
        program = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become(**program)
            return
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def become(code: str, argv: list[str], env: dict[str, str], cwd: str, output: str) -> None:
    """Be the program."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    printed = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    sys.argv[:] = argv
    exec(code, {"__name__": "__main__"})  # noqa: S102 - as `python -c` does


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    fork(sys.stdin)
