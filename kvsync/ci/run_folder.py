"""The folder of one run: where its parts lie, and the results of the stages that ended.

A stage's result is on disk as soon as the stage ended, so that a report can be made of a run that was
killed, and a display can follow one that is going on.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from kvsync.ci.revision import Revision
from kvsync.errors import ConfigError, UnknownName
from kvsync.testing.results.journal import journal
from kvsync.testing.results.layout import read_laid_out, write_laid_out
from kvsync.testing.results.outcome import StageResult
from kvsync.testing.results.whole import write_whole

RESERVE = 256 * 1024
"""Bytes that a run holds for its report."""

ALL_RUNS = "all_runs"
"""The folder of the pages of all runs, beside those of the runs; no run has such a name."""

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)
"""What reading a file raises that is torn, or not what it should be."""


def find_run(report_dir: Path, run: str, *, having: str = "parameters.json") -> "RunFolder":
    """Return the folder of a run that has a file, by its id or as `last`.

    Raises UnknownName, or ConfigError when there is none at all.
    """
    runs = sorted(path.parent.name for path in report_dir.glob(f"*/{having}"))
    if not runs:
        raise ConfigError(str(report_dir), ["there is no run; start one with: kvsync-ci run"])
    name = runs[-1] if run == "last" and runs else run
    if name not in runs:
        raise UnknownName("run", run, [*runs, "last"])
    return RunFolder(report_dir / name)


class RunFolder:
    """`<report dir>/<run id>`: report.html, report.json, junit/, logs/, history/, results/ and more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.guardian_log = path / "logs" / "guardian.log"  # is there when Prefect has begun with the run
        self.ledger = path / "ledger.jsonl"
        self.programs = path / "programs.jsonl"  # the same of stages in boxes, of which nothing is left
        self.parameters = path / "parameters.json"
        self.machine = path / "machine.json"
        self.report = path / "report.json"
        self.page = path / "report.html"
        self.changes = path / "changes.diff"  # of the tested code to where it left its base, without context
        self.base = path / "base"  # the commit at which it left that, if it is another branch's
        self.ingested = path / "ingested"  # the files that another CI's results were read from
        self._reserve = path / ".reserve"
        self._revision = path / "revision.json"
        self.told = path / "told"  # is there when the report has reached whom it can: store, people, GitHub
        self.notified = path / "notified"  # is there when people were told

    def hold_room(self) -> None:
        """Take the room that a report needs, so that it can be written on a disk that became full."""
        if not self._reserve.exists():
            self._reserve.write_bytes(bytes(RESERVE))

    def give_room(self) -> None:
        """Give it back."""
        self._reserve.unlink(missing_ok=True)

    @property
    def is_full(self) -> bool:
        """Whether the disk has no room for more than a report; to be asked after `give_room`."""
        return shutil.disk_usage(self.path).free < 2 * RESERVE

    def tests(self, stage: str) -> Path:
        """Return where the pytest plugin writes a line whenever a test of the stage starts or ends."""
        return journal(self.path, stage)

    def junit(self, stage: str) -> Path:
        """Return where the stage's JUnit file lies."""
        return self.path / "junit" / f"{stage}.xml"

    def prow(self, stage: str) -> Path:
        """Return where the same lies in the form that Prow's tools read."""
        return self.path / "junit" / "prow" / f"{stage}.xml"

    def coverage(self, stage: str) -> Path:
        """Return where lies what ran while the stage did; of all stages together for ""."""
        return self.path / "coverage" / f"{stage}.json" if stage else self.path / "coverage.json"

    def coverage_page(self, stage: str) -> Path:
        """Return where the page about that lies."""
        return self.path / "coverage" / f"{stage}.html" if stage else self.path / "coverage.html"

    def save(self, result: StageResult) -> None:
        """Keep the result of a stage; a reader sees it whole or not at all."""
        write_laid_out(self._result(result.name), result, levels=2)

    def result(self, stage: str) -> StageResult | None:
        """Return the result of a stage that ended, None before; of a file that is torn, that it is."""
        path = self._result(stage)
        try:
            return StageResult.from_json(read_laid_out(path)) if path.exists() else None
        except UNREADABLE as exc:
            return StageResult.unknown(stage, f"its result cannot be read: {type(exc).__name__}: {exc}")

    def forget(self, stage: str) -> None:
        """Remove the result of what an earlier attempt could not do."""
        self._result(stage).unlink(missing_ok=True)

    def results(self) -> list[StageResult]:
        """Return the results of all stages that ended."""
        paths = sorted((self.path / "results").glob("*.json"))
        return [result for path in paths if (result := self.result(path.stem))]

    def keep_revision(self, code: Revision) -> None:
        """Keep which code the run tests, while that is still the code there is."""
        write_whole(self._revision, json.dumps(asdict(code), indent=1))

    @property
    def revision(self) -> Revision | None:
        """Which code the run tests; None if it was not kept, or cannot be read."""
        try:
            return Revision(**json.loads(self._revision.read_text()))
        except UNREADABLE:
            return None

    def make_room(self) -> None:
        """Make room for another attempt: its cluster is another one, the report becomes one of `earlier`."""
        for each in (self.machine, self.told, self.notified):
            each.unlink(missing_ok=True)
        if self.report.exists():
            self.report.replace(self.path / f"report-{len(self.earlier) + 1}.json")

    @property
    def earlier(self) -> list[Path]:
        """The reports of the attempts before, the first one first."""
        found = self.path.glob("report-[0-9]*.json")
        return sorted(found, key=lambda path: int(path.stem.rpartition("-")[2]))

    def _result(self, stage: str) -> Path:
        return self.path / "results" / f"{stage}.json"
