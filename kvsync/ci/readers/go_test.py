"""The events of `go test -json` (test2json, Go 1.10 and later) as checks. Pure.

- A test is `package::TestName/subtest`, as gotestsum's JUnit files name it.
- Repeats within one run of a package (`-count`) are not attempts: Go fails the package if one of them failed,
  and so does the check. A package that was run again is another attempt at its tests.
- A test without an end failed if its package ended, and is undecided if the package has no end either.
- A package that failed without a failing test (it does not build, panics outside of tests) is a check itself.
- Benchmarks are measured, too (kvsync.ci.readers.benchmarks.go_bench).

By hand: PyPI has no reader of these events that is kept.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import ValidationError

from kvsync.ci.readers.benchmarks.go_bench import bench_lines, measured
from kvsync.ci.readers.bounds import Damaged, Foreign
from kvsync.ci.readers.reading import ResultFile
from kvsync.testing.results.attempts import last_of
from kvsync.testing.results.outcome import Attempt, Check, CheckKind, Outcome

ENDINGS: Mapping[str, CheckKind] = {"pass": "passed", "fail": "failed", "skip": "skipped", "bench": "passed"}

SILENT = "it ended so without a word"
TIMED_OUT = "panic: test timed out"
FRAME = re.compile(r"\s*(=== (RUN|PAUSE|CONT|NAME|ATTR)\b|--- (PASS|FAIL|SKIP|BENCH): )|(PASS|FAIL)\n")
"""Lines around what a test printed."""


class _Event(Foreign):
    """One line. `Output` of a test, or of a package when `Test` is missing."""

    Action: str
    Time: datetime | None = None
    Package: str = ""
    Test: str = ""
    Elapsed: float = 0.0
    Output: str = ""
    OutputType: str = ""
    FailedBuild: str = ""
    ImportPath: str = ""


@dataclass(slots=True)
class _Once:
    """One run of one test."""

    ended: CheckKind | None = None
    elapsed_s: float = 0.0
    output: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _PackageRun:
    """One run of a package: its tests in their order, each as often as it ran."""

    tests: dict[str, list[_Once]] = field(default_factory=dict)
    output: list[str] = field(default_factory=list)
    everything: list[str] = field(default_factory=list)
    ended: str = ""
    failed_build: str = ""

    def take(self, event: _Event) -> None:
        """Take an event in."""
        if event.Test:
            self._take_of_test(event)
        elif event.Action in ("pass", "fail", "skip"):
            self.ended, self.failed_build = event.Action, event.FailedBuild
        elif event.Action == "output":
            self.output.append(event.Output)
        self.everything.append(event.Output)

    def _take_of_test(self, event: _Event) -> None:
        runs = self.tests.setdefault(event.Test, [])
        if event.Action == "run" or not runs:
            runs.append(_Once())
        now = runs[-1]
        if event.Action in ENDINGS:
            now.ended, now.elapsed_s = ENDINGS[event.Action], event.Elapsed
        elif event.Action == "output":
            now.output.append(event.Output)
            if event.OutputType == "error":
                now.errors.append(event.Output)


def read_go_test(text: str) -> ResultFile:
    """Return what a stream of events says; raises Damaged if it holds none."""
    packages: dict[str, list[_PackageRun]] = defaultdict(list)
    builds: dict[str, list[str]] = defaultdict(list)
    times: list[datetime] = []
    lines = _Lines(text)
    for event in lines.events():
        if event.Action in ("build-output", "build-fail"):
            builds[event.ImportPath].append(event.Output)
        elif event.Package:
            runs = packages[event.Package]
            if not runs or (runs[-1].ended and (event.Action == "start" or event.Test)):
                runs.append(_PackageRun())
            runs[-1].take(event)
        times += [event.Time] if event.Time else []
    if not packages and not builds:
        raise Damaged("it holds no event of `go test -json`")
    unended = [name for name, runs in packages.items() if not runs[-1].ended]
    return ResultFile(
        checks=[
            *(check for name, runs in packages.items() for check in _of_package(name, runs, builds)),
            *_of_builds(packages, builds),
        ],
        measurements=[
            each
            for name, runs in packages.items()
            for each in measured(bench_lines("".join(runs[-1].everything).splitlines(), name))
        ],
        doubts=[*lines.doubts, *(f"package {name} never ended" for name in unended[:1])],
        remarks=lines.remarks,
        started_at=min(times, default=None),
        duration_s=(max(times) - min(times)).total_seconds() if times else 0.0,
    )


class _Lines:
    """The lines of a stream, and what is odd about it once all were read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.doubts: list[str] = []
        self.remarks: list[str] = []

    def events(self) -> Iterator[_Event]:
        """Yield the events; other lines are remarks, those that may have been events are doubts."""
        others = []
        for number, line in enumerate(self._text.splitlines(), start=1):
            if not line.strip():
                continue
            try:
                yield _Event.model_validate(json.loads(line))
            except (ValueError, RecursionError, ValidationError):
                others.append((number, line))
        torn = [number for number, line in others if line.lstrip().startswith('{"')]
        if torn:
            self.doubts.append(f"line {torn[0]} is no whole event")
        if len(others) > len(torn):
            first = next(line for _, line in others if not line.lstrip().startswith('{"'))
            self.remarks.append(f"{len(others) - len(torn)} lines are no events: {first[:200]}")


def _of_package(
    name: str, runs: Sequence[_PackageRun], builds: Mapping[str, Sequence[str]]
) -> Iterator[Check]:
    """Yield a check for each test of a package, and one for the package if it failed by itself."""
    found: dict[str, list[Check]] = defaultdict(list)
    for run in runs:
        tests = {test: _of_test(f"{name}::{test}", test, each, run) for test, each in run.tests.items()}
        for test, check in tests.items():
            found[test] += [_explained(check, tests)] if check else []
        failed = any(check and check.outcome is Outcome.FAILED for check in tests.values())
        if run.ended == "fail" and not failed:
            detail = _built(builds.get(run.failed_build, ())) + "".join(filter(_says, run.output))
            found[""].append(Check(name=name, kind="error", detail=detail or "the package failed"))
        elif found[""] and run.ended == "pass":
            found[""].append(Check(name=name, kind="passed"))
    yield from (last_of(endings) for endings in found.values() if endings)


def _of_builds(
    packages: Mapping[str, Sequence[_PackageRun]], builds: Mapping[str, Sequence[str]]
) -> Iterator[Check]:
    """Yield a check for each build that failed and of which no package says so."""
    said = {run.failed_build for runs in packages.values() for run in runs}
    for name, output in builds.items():
        if name not in said:
            yield Check(name=name, kind="error", detail=_built(output) or "it does not build")


def _built(output: Sequence[str]) -> str:
    """Return what a build said, without the lines that only name the package."""
    return "".join(line for line in output if not line.startswith("# "))


def _explained(check: Check, tests: Mapping[str, Check | None]) -> Check:
    """Name the subtests for which a test failed that says nothing itself."""
    if check.outcome is not Outcome.FAILED or check.detail != SILENT:
        return check
    failed = [
        each.name
        for each in tests.values()
        if each and each.outcome is Outcome.FAILED and each.name.startswith(f"{check.name}/")
    ]
    return replace(check, detail=f"subtests failed: {', '.join(failed[:5])}") if failed else check


def _of_test(name: str, test: str, runs: Sequence[_Once], run: _PackageRun) -> Check | None:
    """Return how a test ended in one run of its package; None for a benchmark that only has others in it."""
    checks = [
        check for each in runs if (check := _ending(name, each, run, is_bench=test.startswith("Benchmark")))
    ]
    if len(checks) < 2:
        return checks[0] if checks else None
    worst = max(checks, key=lambda check: check.outcome)
    if worst.outcome is not Outcome.FAILED:
        return next((check for check in checks if check.outcome is worst.outcome), worst)
    others = [check for check in checks if check is not worst]
    bad = sum(check.outcome is Outcome.FAILED for check in checks)
    return replace(
        worst,
        detail=f"{worst.detail}\nfailed in {bad} of {len(checks)} repeats of one run (-count)",
        attempts=[Attempt(kind=each.kind, detail=each.detail, duration_s=each.duration_s) for each in others],
    )


def _ending(name: str, once: _Once, run: _PackageRun, *, is_bench: bool) -> Check | None:
    said = "".join(filter(_says, once.output))
    if once.ended is None and is_bench and run.ended == "pass":
        return Check(name=name, kind="passed", log_tail=said) if " ns/op" in said else None
    kind = once.ended or _unended(said, run)
    if kind == "passed":
        return Check(name=name, kind=kind, duration_s=once.elapsed_s, log_tail=said)
    return Check(name=name, kind=kind, detail=_detail(once, said), duration_s=once.elapsed_s)


def _unended(said: str, run: _PackageRun) -> CheckKind:
    if run.ended == "fail":
        return "timeout" if TIMED_OUT in said else "error"
    return "inconclusive"


def _detail(once: _Once, said: str) -> str:
    """Return what a test printed, what it reported as an error or panicked with in front."""
    first = "".join(once.errors) or "".join(line for line in once.output if line.startswith("panic: "))
    whole = said if said.strip() == first.strip() else f"{first}\n{said}" if first else said
    missing = "" if once.ended else "it has no end"
    return "\n".join(filter(None, [whole.strip("\n"), missing])) or SILENT


def _says(line: str) -> bool:
    return not FRAME.match(line)
