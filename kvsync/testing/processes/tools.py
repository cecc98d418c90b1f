"""Short questions to docker, kind and kubectl: there is always an answer, within a bounded time.

For commands that do long work, with a log and a ledger, see runner.
"""

import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from os import killpg
from typing import BinaryIO, cast

from kvsync.testing.processes.runner import with_environment

ANSWER_S = 5.0
"""How long a program may take to answer: enough for a distant cluster, short enough to wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAnswer:
    """What a program said; `exit_code` is None when it is not there or did not end in time.

    If it did not end in time, `errors` has all that it said: incomplete output does not count as output.
    """

    exit_code: int | None
    output: str = ""
    errors: str = ""

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.exit_code == 0

    @property
    def reason(self) -> str:
        """The last line it wrote, where programs say why they failed, without the advice docker appends."""
        lines = [line.strip() for line in f"{self.output}\n{self.errors}".splitlines() if line.strip()]
        said = [line for line in lines if not line.startswith(("Run 'docker", "See 'docker"))]
        return said[-1] if said else f"exit code {self.exit_code}"

    @property
    def lines(self) -> list[str]:
        """The lines of its output that are not empty."""
        return [line for line in self.output.splitlines() if line.strip()]

    @property
    def document(self) -> dict[str, object]:
        """Its output as a JSON object; {} when it is not one."""
        with suppress(ValueError):
            if isinstance(document := json.loads(self.output), dict):
                return cast("dict[str, object]", document)
        return {}


@dataclass(frozen=True, slots=True)
class Tools:
    """Where programs are looked for: `search_path` is what PATH would say, None for PATH itself.

    `environ` is their environment, None for ours.
    """

    search_path: str | None = None
    environ: Mapping[str, str] | None = field(default=None, repr=False)

    def find(self, program: str) -> str | None:
        """Return the path of a program, None when it is not there."""
        return shutil.which(program, path=self.search_path)

    def ask(self, *argv: str, timeout_s: float = ANSWER_S, text: str = "") -> ToolAnswer:
        """Run a command with `text` as its input; at the time limit it is killed with all it started."""
        if not self.find(argv[0]):
            return ToolAnswer(exit_code=None, errors=f"{argv[0]} is not installed")
        # Programs call each other (kind calls docker), so they get the path, too.
        command = with_environment(argv, {"PATH": self.search_path} if self.search_path else {})
        temporary = tempfile.TemporaryFile
        with temporary() as given, temporary() as out, temporary() as err:
            given.write(text.encode())
            given.seek(0)
            process = subprocess.Popen(
                command, stdin=given, stdout=out, stderr=err, start_new_session=True, env=self.environ
            )
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                late = f"{argv[0]} did not answer within {timeout_s:g} s"
                return ToolAnswer(exit_code=None, errors=f"{_read(out)}{_read(err)}\n{late}".lstrip())
            finally:
                with suppress(ProcessLookupError, PermissionError):
                    killpg(process.pid, signal.SIGKILL)
                process.wait()
            return ToolAnswer(exit_code=process.returncode, output=_read(out), errors=_read(err))


ON_PATH = Tools()
"""The programs that PATH has."""


def kubectl(kubeconfig: object, context: object, *words: str) -> list[str]:
    """Return a kubectl command; without a kubeconfig or a context kubectl chooses them itself."""
    chosen = [f"--kubeconfig={kubeconfig}"] if kubeconfig else []
    return ["kubectl", *chosen, *([f"--context={context}"] if context else []), *words]


def _read(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
