"""What a run has done so far, drawn in the terminal."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table

from kvsync.ci.stages.progress import RunProgress, StageProgress
from kvsync.testing.results.outcome import Outcome

LINE_EVERY_S = 15.0
"""How often a running stage says something if the output is not a terminal, such as in a CI log."""

SILENT_S = 5.0
"""How long a run may say nothing before its first stage; on a busy machine Prefect's start takes longer."""

STYLES = {Outcome.PASSED: "green", Outcome.UNKNOWN: "yellow", Outcome.FAILED: "red"}


def table(stages: Sequence[StageProgress], now: float, note: str = "") -> Table:
    """Draw the stages: what ended, what runs and what waits."""
    drawing = Table(box=None, pad_edge=False, header_style="dim", caption=note, caption_justify="left")
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
    began = time.monotonic()
    with Live(console=console, refresh_per_second=8) as live:
        while not finished.wait(0.25):
            progress.refresh()
            now = time.monotonic()
            live.update(table(progress.stages, now, silence(progress.before_stages, now - began)))
        progress.refresh()
        live.update(table(progress.stages, time.monotonic()))


def silence(what: str, for_s: float) -> str:
    """Say what goes on before the first stage, "" as long as that does not take long."""
    return f"{what}, for {for_s:.0f} s so far" if what and for_s >= SILENT_S else ""


def _print_lines(progress: RunProgress, console: Console, finished: threading.Event) -> None:
    began = time.monotonic()
    spoken = began - LINE_EVERY_S + SILENT_S
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
            lines += [f"... {note}" for note in [silence(progress.before_stages, spoken - began)] if note]
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
