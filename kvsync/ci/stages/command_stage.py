"""A stage that runs any program, and reads how its tests ended from the files that it writes.

- What the files say decides, and the exit status has to agree. A file that is missing, older than the stage
  or cut off proves nothing, nor does an exit status that the tests do not explain: the stage is UNKNOWN.
- Without files the exit status is the only check there is, and says that it is weak evidence.
- A program that is not there is not run, with its mend.
"""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from kvsync.ci.project.relations import filled
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.ending import kind_of_running, why_it_ended_early
from kvsync.ci.stages.place import place
from kvsync.ci.stages.profiles import profiled_program, profiling, said_of_profiles
from kvsync.ci.stages.result_files import ResultFiles, Wanted, document_in, read_results
from kvsync.ci.stages.stage import StageContext
from kvsync.testing.processes.runner import CommandResult
from kvsync.testing.results.attempts import again, refused, to_retry
from kvsync.testing.results.history import append_line
from kvsync.testing.results.journal import FROM_OUTSIDE
from kvsync.testing.results.outcome import Check, CheckKind, Outcome, StageResult, merge
from kvsync.testing.results.texts import shortened
from kvsync.testing.results.verdicts import NotRun

GRACE_S = 15.0
"""For a program that is being ended: test runners write their files at their end."""

MISSING, FORBIDDEN = 127, 126
"""How a shell, and `env`, say that a program is not there, and that it is none."""

WEAK = "weak evidence: an exit status alone; name files with its tests in `results`"


@dataclass(frozen=True, slots=True)
class CommandStage:
    """Runs `argv` in `folder` of the repository within `timeout_s`; `results` are patterns of result files.

    `format_name`: of all of them, "" to tell each by what is in it.

    `wanted`: what the files have to hold, besides being whole.

    With `retries` (0 or 1) it is run once more when tests failed that may have failed by chance. `values` are
    what the words may name in braces. `profile`: what of a program of Python is profiled meanwhile.
    """

    name: str
    argv: Sequence[str]
    timeout_s: float
    folder: str = ""
    results: Sequence[str] = ()
    format_name: str = ""
    retries: Literal[0, 1] = 0
    workers: int | None = None
    wanted: Wanted = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    profile: Literal["", "time", "memory"] = ""

    def run(self, context: StageContext) -> StageResult:
        """Run the program; its output goes to the run's `logs/<stage>.log`, of attempt 2 to `-2.log`."""
        result = self._tried(context)
        said = said_of_profiles(context.run_dir, self.name) if self.profile else []
        return replace(result, remarks=(*result.remarks, *said))

    def _tried(self, context: StageContext) -> StageResult:
        result = self._attempt(context, self.timeout_s)
        if not self.retries or context.attempt > 1 or context.stop.is_set():
            return result
        others = [each for each in RunFolder(context.run_dir).results() if each.name != self.name]
        retry = to_retry(result, others)
        if retry.refusal:
            return refused(result, retry.refusal)
        if not retry.names:
            return result
        return again(result, self._attempt(context, self.timeout_s - result.duration_s))

    def values_in(self, context: StageContext) -> dict[str, str]:
        """Return what words may name in braces, besides the new folder of each attempt."""
        return {
            **self.values,
            "profile": context.profile,
            "python": sys.executable,
            "seed": str(context.seed),
            "workers": str(self.workers or 1),
        }

    def _attempt(self, context: StageContext, timeout_s: float) -> StageResult:
        label = free_label(context.run_dir, self.name)
        out = context.run_dir / "evidence" / label
        out.mkdir(parents=True)
        values = {**self.values_in(context), "out": str(out)}
        log = f"logs/{label}.log"
        argv = [filled(word, values) for word in self.argv]
        patterns = [filled(pattern, {**values, "out": "{out}"}) for pattern in self.results]
        files = ResultFiles(context.repository, out, context.run_dir / log, patterns)
        before, started_at = files.stamps(), datetime.now(UTC)
        self._tell(context, argv)
        started, no_profile = self._profiled(argv, context, label)
        command = place(context, self.name, label)(
            self._placed(started, context),
            log=context.run_dir / log,
            timeout_s=timeout_s,
            cwd=context.repository / self.folder,
            # The pipeline's own packages are none of the project's business.
            env={"PYTHONPATH": "", **{name: filled(text, values) for name, text in self.environment.items()}},
            environ=context.environ,
            stop=context.stop,
            ledger=context.ledger,
            grace_s=GRACE_S,
        )
        _require_program(argv, command, context)
        found, problem = files.new(before) if patterns else ([], "")
        kept = files.keep(found)
        if self.wanted == "findings":
            kept = [document_in(each, out / "output.json") if each == files.log else each for each in kept]
        read = self._read(kept, context) if kept else None
        if not any(out.iterdir()):
            out.rmdir()
        result = judged(self.name, argv, command, read, problem, started_at=started_at)
        return replace(result, log=log, remarks=(*result.remarks, *filter(None, [no_profile])))

    def _profiled(self, argv: Sequence[str], context: StageContext, label: str) -> tuple[list[str], str]:
        """Return the command line that is started, and why it makes no profile that was asked for."""
        if not self.profile:
            return list(argv), ""
        words = profiling(context.run_dir, self.name, label, self.profile)
        path = context.environ.get("PATH") if context.environ else None
        return profiled_program(argv, words, context.repository / self.folder, path)

    def _tell(self, context: StageContext, argv: Sequence[str]) -> None:
        """Say what runs now, for displays, and for the report of a run that dies meanwhile."""
        tests = RunFolder(context.run_dir).tests(self.name)
        tests.parent.mkdir(parents=True, exist_ok=True)
        name = shortened(shlex.join(argv), 200)
        append_line(tests, {"event": "collected", "nodeids": [name], "count": 1})
        append_line(tests, {"event": "started", "nodeid": name})

    def _read(self, files: Sequence[Path], context: StageContext) -> StageResult:
        return read_results(
            files,
            name=self.name,
            format_name=self.format_name,
            run_dir=context.run_dir,
            wanted=self.wanted,
        )

    def _placed(self, argv: Sequence[str], context: StageContext) -> list[str]:
        """Return the command line as a box needs it: it starts at the top, and says what is not there."""
        return list(argv) if context.box is None else ["env", "-C", self.folder or ".", *argv]


def judged(
    name: str,
    argv: Sequence[str],
    command: CommandResult,
    read: StageResult | None,
    problem: str,
    *,
    started_at: datetime,
) -> StageResult:
    """Merge what the files say and how the program ended; what does not fit together is never PASSED.

    `read` is None where no file was found: `problem` then says why, and is "" where none was asked for.
    """
    why, said = why_it_ended_early(command), _last_words(command)
    checks = list(read.checks) if read else []
    ending = Check(
        name=f"exit status of {shortened(shlex.join(argv), 200)}",
        kind=_kind(command),
        detail=why or (f"{command.ending}: {said}" if command.exit_code else WEAK),
        duration_s=command.duration_s,
        log_tail=command.tail if command.exit_code else "",
        properties={"weak": "yes"},
    )
    is_alone = read is None and not problem
    if is_alone or command.timed_out:
        checks.append(ending)
    result = merge(name, checks, started_at=started_at, duration_s=command.duration_s)
    is_unread = bool(read and read.reason and any(check.detail == read.reason for check in read.checks))
    if read and is_unread:
        result = replace(result, reason=read.reason)  # of which the check's headline is a part
    doubts = [
        "" if ending in checks else why,
        problem and f"{problem}; it ended with {command.ending}: {said}",
    ]
    doubts += [read.doubt] if read and not is_unread else []
    if read and command.exit_code and not why and read.outcome is not Outcome.FAILED:
        tests = "1 test does" if len(checks) == 1 else f"{len(checks)} tests do"
        doubts.append(f"{tests} not explain {command.ending}: {said}")
    for doubt in filter(None, doubts):
        result = result.doubted(doubt)
    remarks = (WEAK,) if is_alone else read.remarks if read else ()
    return replace(result, remarks=remarks)


def _kind(command: CommandResult) -> CheckKind:
    if why_it_ended_early(command) or command.exit_code in FROM_OUTSIDE:
        return kind_of_running(command)
    return "failed" if command.exit_code else "passed"


def _require_program(argv: Sequence[str], command: CommandResult, context: StageContext) -> None:
    """Raise NotRun, with the mend, where the program, or one that it calls, is not there."""
    if why_it_ended_early(command) or command.exit_code not in (MISSING, FORBIDDEN):
        return
    what = "is not there" if command.exit_code == MISSING else "cannot be executed"
    mend = "install it where the pipeline runs, or with `prepare` in stages.toml"
    if context.box:
        mend += "; in a box only the system's programs are seen, and what box.readable names"
    raise NotRun(f"{argv[0]}, or what it calls, {what} ({_last_words(command)}); {mend}")


def _last_words(command: CommandResult) -> str:
    lines = [line.strip() for line in command.tail.splitlines() if line.strip()]
    return shortened(lines[-1]) if lines else "it printed nothing"


def free_label(run_dir: Path, name: str) -> str:
    """Return what an attempt's files are called: the stage's name, of attempt 2 with `-2`."""
    number, label = 1, name
    while (run_dir / "logs" / f"{label}.log").exists() or (run_dir / "evidence" / label).exists():
        number += 1
        label = f"{name}-{number}"
    return label
