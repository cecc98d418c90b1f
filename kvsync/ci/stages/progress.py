"""What a run has done so far, read from the files that it writes.

Displays only read the run's folder, so they work for a run in any process, and a run works without them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kvsync.ci.run_folder import RunFolder
from kvsync.testing.results.history import Record, parse_lines
from kvsync.testing.results.outcome import StageResult, worded
from kvsync.testing.results.texts import counted, shortened


@dataclass(slots=True)
class StageProgress:
    """How far one stage is: its tests, by their last attempts. `result` is set once it has ended."""

    name: str
    started: float | None = None
    total: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    result: StageResult | None = None
    _running: dict[str, None] = field(default_factory=dict)
    _unpassed: dict[str, str] = field(default_factory=dict)
    _again: bool = False

    @property
    def running(self) -> str:
        """The test that started last of those that run; "" when none does."""
        return shortened(next(reversed(self._running), "").rpartition("::")[2], 80)

    @property
    def finished(self) -> int:
        """How many tests have ended."""
        return sum(self.kinds.values())

    @property
    def percent(self) -> float:
        """The share of the tests known so far that have ended."""
        return min(100.0, 100.0 * self.finished / self.total) if self.total else 0.0

    @property
    def counts(self) -> str:
        """Such as `12 of 40: 11 passed, 1 failed`; at the end what its result says."""
        if self.result:
            kinds = ", ".join(f"{count} {worded(kind)}" for kind, count in self.result.counts.items())
            return f"{counted(len(self.result.checks), 'check')}: {kinds}" if kinds else "no check"
        kinds = ", ".join(f"{count} {worded(kind)}" for kind, count in sorted(self.kinds.items()) if count)
        return f"{self.finished} of {self.total}" + (f": {kinds}" if kinds else "")

    def advance(self, record: Record, now: float) -> None:
        """Take in one line that the pytest plugin wrote."""
        self.started = self.started or now
        match record.get("event"):
            case "collected":
                self._again = bool(self.total and record.get("only"))
                if not self._again:  # those that are tried again were counted
                    self.total += int(str(record["count"]))
            case "started":
                self._running[str(record["nodeid"])] = None
            case "finished":
                test, kind = str(record["nodeid"]), str(record["kind"])
                # Of those that passed, of which there may be 100,000, only the number is kept.
                before = self._unpassed.pop(test, "passed" if self._again else "")
                if self.kinds.get(before):
                    self.kinds[before] -= 1
                self.kinds[kind] = self.kinds.get(kind, 0) + 1
                if kind != "passed":
                    self._unpassed[test] = kind
                self._running.pop(test, None)


class NewLines:
    """Reads the records that are appended to a file of JSON lines from now on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def read(self) -> Iterator[Record]:
        """Yield what is new and whole since the last time."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole + newline)
        yield from parse_lines(whole.decode(errors="replace").splitlines())


class RunProgress:
    """Follows the folder of one run; `refresh` reads what is new since the last time.

    What is there at the beginning belongs to an earlier attempt and is not shown. `known` says which stages
    the run has; of a commit that is still to be fetched, that may change until the first one begins. `gating`
    returns a result as the verdict takes it, without what the repository excuses or accepts.
    """

    def __init__(
        self,
        folder: RunFolder,
        known: Callable[[], Sequence[str]],
        gating: Callable[[StageResult], StageResult],
    ) -> None:
        self._folder, self._known, self._gating = folder, known, gating
        self._begun_before = self._begun_at()
        self.stages: list[StageProgress] = []
        self._lines: dict[str, NewLines] = {}
        self._earlier: dict[str, StageResult | None] = {}
        self._look_for_stages()

    def _look_for_stages(self) -> None:
        names = list(self._known())
        if names != [stage.name for stage in self.stages]:
            self.stages = [StageProgress(name) for name in names]
            self._lines = {name: NewLines(self._folder.tests(name)) for name in names}
            self._earlier = {name: self._folder.result(name) for name in names}

    def _begun_at(self) -> int:
        log = self._folder.guardian_log
        return log.stat().st_mtime_ns if log.exists() else 0

    @property
    def before_stages(self) -> str:
        """What goes on while no stage has begun; "" once one has."""
        if any(stage.started or stage.result for stage in self.stages):
            return ""
        is_up = self._begun_at() != self._begun_before
        return "the first stage is made ready" if is_up else "Prefect is starting"

    def refresh(self) -> list[StageProgress]:
        """Read what is new; return the stages that have ended since."""
        if not any(stage.started or stage.result for stage in self.stages):
            self._look_for_stages()
        ended = []
        for stage in self.stages:
            for record in self._lines[stage.name].read():
                stage.advance(record, time.monotonic())
            if stage.result:
                continue
            result = self._folder.result(stage.name)
            if result and result != self._earlier[stage.name]:
                stage.result = self._gating(result)
                ended.append(stage)
        return ended
