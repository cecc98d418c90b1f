"""A report on its way to its readers, and the steps that take it there.

The steps are plain functions. The flow carries each out as a task of Prefect; a guardian, the caretaker and
the command, which see to the end of a run that could not do so itself, as a plain call.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kvsync.ci.archive.comparison import RunComparison
from kvsync.ci.report.report import Report
from kvsync.ci.run.run import Run
from kvsync.ci.store.store import static_link
from kvsync.ci.store.upload import Uploaded

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


def nowhere(_: "Handover") -> None:
    """Show nothing, where there is no view of a run."""


def always(_: Run) -> bool:
    """Say that a step is for every run."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """The report of a run, and what the steps so far found out.

    `show`: draws the report in the view of the one who takes the steps. `retried`: a step that fails for now
    raises, since it will be taken again. `pending`: something was not sent that can be sent later.
    """

    run: Run
    report: Report
    comparison: RunComparison | None = None
    uploaded: Uploaded | None = None
    show: Callable[["Handover"], None] = nowhere
    retried: bool = False
    pending: bool = False

    @property
    def link(self) -> str:
        """Where everyone may open the report, in the store or as `serve` shows it; "" for nowhere."""
        served = self.run.settings.serve.reports_url
        return (self.uploaded.public_url if self.uploaded else "") or (served and self._below(served))

    @property
    def link_here(self) -> str:
        """Where `kvsync-ci serve` shows the report to a browser on this machine."""
        return self._below(self.run.settings.serve.reports_here)

    def _below(self, base: str) -> str:
        return static_link(base, f"{self.report.run}/{self.run.folder.page.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverStep:
    """One step: what it does, how often it may be tried again, and whether its failure ends the road.

    `wanted`: where it has something to do; it is not taken elsewhere, such as an upload without a store.
    """

    name: str
    act: Callable[[Handover, Log], Handover]
    retries: int = 0
    retry_delay_s: float = 5.0
    vital: bool = False
    wanted: Callable[[Run], bool] = always


Carry = Callable[[HandoverStep, Handover, Log], Handover]


def plainly(step: HandoverStep, handover: Handover, log: Log) -> Handover:
    """Take a step, once."""
    return step.act(handover, log)


def hand_over(
    handover: Handover, road: Sequence[HandoverStep], log: Log, *, carry: Carry = plainly
) -> Handover:
    """Take the wanted steps of a road; unless something is left for later, the run's folder then says `told`.

    A step that raises is a warning and left for later; only what a vital one raises is raised.
    """
    for step in road:
        if not step.wanted(handover.run):
            continue
        try:
            handover = carry(step, handover, log)
        except Exception as error:
            if step.vital:
                raise
            log.warning("%s: %s: %s", step.name, type(error).__name__, error)
            handover = replace(handover, pending=True)
    if not handover.pending:
        handover.run.folder.told.touch()
    return handover
