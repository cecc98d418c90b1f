"""What a run has done so far, read from the files that it writes, and drawn in the terminal.

The display is a reader of the run's folder: it works for a run in any process, and a run needs no display.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table

from kvsync.testing.history import parse_lines
from kvsync.testing.outcome import Outcome, StageResult
from kvsync.testing.run_folder import RunFolder

LINE_EVERY_S = 15.0
"""How often a running stage says something where the output is no terminal, such as in a CI log."""

STYLES = {Outcome.PASSED: "green", Outcome.UNKNOWN: "yellow", Outcome.FAILED: "red"}


@dataclass(slots=True)
class StageProgress:
    """How far one stage is; `result` is there once it ended."""

    name: str
    started: float | None = None
    total: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    running: str = ""
    result: StageResult | None = None

    @property
    def finished(self) -> int:
        """How many tests ended."""
        return sum(self.kinds.values())

    @property
    def counts(self) -> str:
        """Such as `12 of 40: 11 passed, 1 failed`."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return f"{self.finished} of {self.total}" + (f": {kinds}" if kinds else "")

    def advance(self, record: dict[str, object], now: float) -> None:
        """Take in one line that the pytest plugin wrote."""
        self.started = self.started or now
        match record.get("event"):
            case "collected":
                self.total = int(str(record["count"]))
            case "started":
                self.running = str(record["nodeid"]).rpartition("::")[2]
            case "finished":
                self.kinds[str(record["kind"])] = self.kinds.get(str(record["kind"]), 0) + 1
                self.running = ""


class RunProgress:
    """Follows the folder of one run; `refresh` reads what is new since the last time.

    What is there at the beginning is of an earlier attempt and not shown.
    """

    def __init__(self, folder: RunFolder, stages: Sequence[str]) -> None:
        self.stages = [StageProgress(name) for name in stages]
        self._folder = folder
        self._offsets = {name: _size(folder.tests(name)) for name in stages}
        self._earlier = {name: folder.result(name) for name in stages}

    def refresh(self) -> list[StageProgress]:
        """Read on; return the stages that ended meanwhile."""
        ended = []
        for stage in self.stages:
            for record in self._new_lines(stage.name):
                stage.advance(record, time.monotonic())
            result = self._folder.result(stage.name)
            if stage.result is None and result and result != self._earlier[stage.name]:
                stage.result = result
                ended.append(stage)
        return ended

    def _new_lines(self, stage: str) -> Iterator[dict[str, object]]:
        path = self._folder.tests(stage)
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._offsets[stage])
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offsets[stage] += len(whole + newline)
        yield from parse_lines(whole.decode(errors="replace").splitlines())


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def table(stages: Sequence[StageProgress], now: float) -> Table:
    """Draw the stages: what ended, what runs and what waits."""
    drawing = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("", "stage", "tests", "time", ""):
        drawing.add_column(column, justify="right" if column == "time" else "left", no_wrap=True)
    for stage in stages:
        drawing.add_row(*_row(stage, now))
    return drawing


def _row(stage: StageProgress, now: float) -> tuple[RenderableType, ...]:
    if stage.result:
        style = STYLES[stage.result.outcome]
        mark = f"[{style}]{stage.result.outcome.name.lower()}[/]"
        return mark, stage.name, stage.counts, f"{stage.result.duration_s:.0f} s", escape(stage.result.reason)
    if stage.started is not None:
        return (
            Spinner("dots"),
            stage.name,
            stage.counts,
            f"{now - stage.started:.0f} s",
            escape(stage.running),
        )
    return "", f"[dim]{stage.name}[/]", "", "", ""


@contextmanager
def follow(progress: RunProgress, console: Console) -> Iterator[None]:
    """Show the progress of a run while the body runs: a live table, or lines where there is no terminal."""
    finished = threading.Event()
    show = _show_table if console.is_terminal else _print_lines
    thread = threading.Thread(target=show, args=(progress, console, finished), name="progress")
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _show_table(progress: RunProgress, console: Console, finished: threading.Event) -> None:
    with Live(console=console, refresh_per_second=8) as live:
        while not finished.wait(0.25):
            progress.refresh()
            live.update(table(progress.stages, time.monotonic()))
        progress.refresh()
        live.update(table(progress.stages, time.monotonic()))


def _print_lines(progress: RunProgress, console: Console, finished: threading.Event) -> None:
    spoken = time.monotonic()
    last = False
    while not last:
        last = finished.wait(0.5)
        lines = [
            f"{stage.result.summary()} ({stage.counts}, {stage.result.duration_s:.0f} s)"
            for stage in progress.refresh()
            if stage.result
        ]
        if time.monotonic() - spoken > LINE_EVERY_S:
            spoken = time.monotonic()
            running = [stage for stage in progress.stages if stage.started is not None and not stage.result]
            lines += [f"... {stage.name}: {stage.counts} {stage.running}" for stage in running]
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
