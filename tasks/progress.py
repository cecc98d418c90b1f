"""What Prefect shows of a stage while it runs: how far it is, and how its tests end.

A thread reads the lines that tests write. It never holds up the stage: it is a daemon, its end is waited for
briefly, and what it cannot tell Prefect is not told.
"""

import contextvars
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from kvsync.ci.handover.archiving import expected_s
from kvsync.ci.page.wording import duration
from kvsync.ci.run.run import Run
from kvsync.ci.stages.progress import NewLines, StageProgress
from kvsync.testing.results.history import Record
from kvsync.testing.results.outcome import OUTCOMES, Outcome
from tasks.artifacts import plain

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]

READ_EVERY_S = 0.5
SHOW_EVERY_S = 5.0
"""Each time is a request to Prefect; a stage that is shorter needs no artifact."""

END_S = 1.0
"""How long the end of the thread is waited for; a server that is away must not delay a run."""

MOST_PASSED, MOST_OTHERS = 100, 400
"""Lines of one stage in Prefect's log; the stage's own log has everything."""

LINE_CHARACTERS = 300


@dataclass(slots=True)
class Endings:
    """Says how tests ended, up to a number of lines; what did not pass has room of its own."""

    log: Callable[[int, str], None]
    said: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})

    def tell(self, record: Record) -> None:
        """Say how a test ended; once, that no more is said."""
        if record.get("event") != "finished":
            return
        kind = str(record["kind"])
        outcome = next((OUTCOMES[each] for each in OUTCOMES if each == kind), Outcome.UNKNOWN)
        good = outcome is Outcome.PASSED
        room = (MOST_PASSED if good else MOST_OTHERS) - self.said[good]
        self.said[good] += 1
        if room == 0:
            self.log(
                logging.INFO, f"more tests {'pass' if good else 'do not pass'}; see the log of the stage"
            )
        elif room > 0:
            detail = next(iter(str(record.get("detail", "")).strip().splitlines()[-1:]), "")
            line = ": ".join(filter(None, [kind, str(record["nodeid"]), "" if good else detail]))
            self.log(logging.INFO if good else logging.WARNING, line[:LINE_CHARACTERS])


@contextmanager
def shown_progress(run: Run, stage: str, log: Log, stop: threading.Event) -> Iterator[None]:
    """Show how a stage goes while the body runs it."""
    done = threading.Event()
    # Prefect knows by the context to which task run a line or an artifact belongs.
    context = contextvars.copy_context()
    thread = threading.Thread(
        target=context.run, args=(_follow, run, stage, log, done), name="progress", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(0 if stop.is_set() else END_S)


def _follow(run: Run, stage: str, log: Log, done: threading.Event) -> None:
    lines = NewLines(run.folder.tests(stage))
    progress, endings = StageProgress(stage), Endings(lambda level, line: log.log(level, "%s", line))
    began = time.monotonic()
    artifact, shown = None, began
    last = False
    while not last:
        last = done.wait(READ_EVERY_S)
        for record in lines.read():
            progress.advance(record, time.monotonic())
            endings.tell(record)
        if time.monotonic() - shown >= SHOW_EVERY_S or (last and artifact):
            shown = time.monotonic()
            try:
                artifact = artifact or _Artifact.create(stage, expected_s(run, stage))
                artifact.update(progress, 100.0 if last else progress.percent, shown - began)
            except Exception as error:
                log.debug("the progress of %s is not shown: %s", stage, error)


@dataclass(frozen=True, slots=True)
class _Artifact:
    id: UUID
    expected_s: float | None

    @classmethod
    def create(cls, stage: str, expected_s: float | None) -> "_Artifact":
        key = re.sub(r"[^a-z0-9]+", "-", f"progress-{stage}")  # all that Prefect takes
        made = create_progress_artifact(progress=0.0, key=key, description=stage)
        assert isinstance(made, UUID)
        return cls(made, expected_s)

    def update(self, progress: StageProgress, percent: float, took_s: float) -> None:
        left_s = self.expected_s - took_s if self.expected_s and percent < 100 else 0.0
        parts = [f"{progress.name}: {progress.counts}", plain(progress.running)]
        parts += [f"about {duration(left_s)} left"] if left_s > 0 else []
        update_progress_artifact(
            artifact_id=self.id, progress=percent, description=", ".join(filter(None, parts))
        )
