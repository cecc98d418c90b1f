"""What the stages of a repository need, made ready by its own commands: an environment, a build.

In a checkout that stays it is made anew only when the commands or the files that it is made from change, or
something at its top that they made is gone. The folder of a commit is new, and prepared, in every run.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.ending import why_it_ended_early
from kvsync.ci.stages.place import place
from kvsync.ci.stages.stage import StageContext
from kvsync.testing.processes.runner import CommandResult
from kvsync.testing.results.outcome import Check, CheckKind, StageResult, merge
from kvsync.testing.results.texts import shortened
from kvsync.testing.results.whole import write_whole

NAME = "prepare"

ERROR = re.compile(r"(?:\w*error|fatal)\b.*[: ]", re.IGNORECASE)

PIPS_OWN = "error: subprocess-exited-with-error"
"""What pip says last of a build that failed, whatever the build said."""

STAMPS = ".prepared"
"""The folder beside those of the runs that says of which files a checkout was prepared."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """From what a checkout was prepared, and what that made at its top: an environment, a build."""

    digest: str = ""
    made: frozenset[str] = frozenset()

    @classmethod
    def read(cls, stamp: Path) -> Self:
        """Return what was written, of none or one that cannot be read nothing."""
        try:
            found = json.loads(stamp.read_text(encoding="utf-8"))
            return cls(str(found["digest"]), frozenset(found["made"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def write(self, stamp: Path) -> None:
        """Keep it for the next run."""
        stamp.parent.mkdir(parents=True, exist_ok=True)
        write_whole(stamp, json.dumps({"digest": self.digest, "made": sorted(self.made)}))


@dataclass(frozen=True, slots=True)
class PrepareStage:
    """Runs commands in the repository, up to the first that fails: then nothing that needs them can be run.

    `made_from`: files that decide what is made, none where that is not known. `made`: files that it makes,
    besides those that it was seen to make at the top.
    """

    commands: Sequence[Sequence[str]]
    timeout_s: float
    made_from: Sequence[str] = ()
    made: Sequence[str] = ()
    name: str = NAME

    def run(self, context: StageContext) -> StageResult:
        """See Stage; each check is a command."""
        started_at = datetime.now(UTC)
        stamp, digest = self._stamp(context), self._digest(context.repository)
        before = Prepared.read(stamp)
        if digest and before.digest == digest and self._is_made(context.repository, before.made):
            check = Check(name="nothing changed since it was prepared", kind="passed")
            return merge(self.name, [check], started_at=started_at)
        stamp.unlink(missing_ok=True)
        top = _top(context.repository) - before.made
        checks: list[Check] = []
        for number, words in enumerate(self.commands, start=1):
            left_s = self.timeout_s - sum(check.duration_s for check in checks)
            checks.append(self._check(words, number, context, left_s))
            if checks[-1].kind != "passed":
                break
        else:
            Prepared(digest, _top(context.repository) - top).write(stamp)
        log = RunFolder(context.run_dir).logs / f"{self.name}.log"
        return merge(
            self.name,
            checks,
            started_at=started_at,
            duration_s=sum(check.duration_s for check in checks),
            log=str(log.relative_to(context.run_dir)),
        )

    def _check(self, words: Sequence[str], number: int, context: StageContext, left_s: float) -> Check:
        command = place(context, self.name, f"{self.name}-{number}")(
            words,
            log=RunFolder(context.run_dir).logs / f"{self.name}.log",
            timeout_s=left_s,
            cwd=context.repository,
            env={"PYTHONPATH": ""},
            environ=context.environ,
            stop=context.stop,
            ledger=context.ledger,
        )
        kind, detail = _ending(command)
        if kind != "passed" and context.box:
            detail += "; in a box there is no network"
        return Check(
            name=shortened(shlex.join(words), 200),
            kind=kind,
            detail=detail,
            duration_s=command.duration_s,
            log_tail=command.tail if kind != "passed" else "",
        )

    def _stamp(self, context: StageContext) -> Path:
        name = hashlib.sha256(str(context.repository).encode()).hexdigest()[:24]
        return context.run_dir.parent / STAMPS / name

    def _digest(self, repository: Path) -> str:
        """Return what changes when something else would be made; "" where that is not known."""
        if not self.made_from:
            return ""
        found = hashlib.sha256(json.dumps([list(words) for words in self.commands]).encode())
        for name in self.made_from:
            path = repository / name
            found.update(json.dumps(name).encode())
            found.update(hashlib.sha256(path.read_bytes() if path.is_file() else b"").digest())
        return found.hexdigest()

    def _is_made(self, repository: Path, made: Collection[str]) -> bool:
        return all((repository / name).exists() for name in (*self.made, *made))


def _top(repository: Path) -> frozenset[str]:
    return frozenset(path.name for path in repository.iterdir())


def _ending(command: CommandResult) -> tuple[CheckKind, str]:
    """Say how a command ended: a failure is nobody's test, so that nothing is known."""
    if why := why_it_ended_early(command):
        return ("not-run" if command.stopped else "inconclusive"), why
    if not command.exit_code:
        return "passed", ""
    return "infra-error", f"{command.ending}: {shortened(most_telling(command.tail))}"


def most_telling(tail: str) -> str:
    """Return the last line that names an error: pip and others end with notes."""
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    errors = [line for line in lines if ERROR.match(line) and line != PIPS_OWN]
    return (errors or lines or [""])[-1]
