"""How long stages take and what runs measure, run by run, and where that changed. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from kvsync.ci.archive.records import PastRun, RunScope
from kvsync.ci.archive.shifts import Shift, shifts
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import Outcome

STAGE = "stage "
"""What the names of durations begin with."""

LEAST_STAGE, LEAST_MEASURE = 0.2, 0.05
"""Smaller shifts are not marked: of how long a stage takes, and of what is measured."""


@dataclass(frozen=True, kw_only=True)
class Trend:
    """One number over the runs of a scope, the oldest first; `unit` is "s" for durations."""

    scope: RunScope
    name: str
    unit: str
    points: Sequence[tuple[datetime, float]]
    commits: Sequence[str]

    @property
    def values(self) -> list[float]:
        """The numbers, without their times."""
        return [value for _, value in self.points]

    @cached_property
    def shifts(self) -> list[Shift]:
        """Where it moved to another level, the newest last."""
        return shifts(self.values, LEAST_STAGE if self.name.startswith(STAGE) else LEAST_MEASURE)

    def said(self, shift: Shift) -> str:
        """Say by how much it moved, when, and between which commits."""
        when = self.points[shift.at][0].strftime("%Y-%m-%d %H:%M")
        return f"{shift.change:+.1%} at {when}, {self.between(shift)}"

    def between(self, shift: Shift) -> str:
        """Return the commits between which it moved, as git takes them: the last before it, and the first."""
        return f"{self.commits[shift.at - 1][:10]}..{self.commits[shift.at][:10]}"


def trends(
    runs: Sequence[PastRun], measured: Mapping[str, Sequence[Measurement]], *, most: int
) -> list[Trend]:
    """Arrange what runs, the newest first, say of stages that passed and of what they measured.

    Runs of two scopes are never in one series. Of each series the last `most` points are kept, and no series
    of one point.
    """
    found: dict[tuple[RunScope, str, str], list[tuple[datetime, float, str]]] = defaultdict(list)
    for run in reversed(runs):
        for stage in run.stages:
            if stage.outcome is Outcome.PASSED and stage.duration_s > 0:
                found[run.scope, f"{STAGE}{stage.name}", "s"].append(
                    (run.started_at, stage.duration_s, run.commit)
                )
        for each in measured.get(run.run, ()):
            conditions = "".join(f", {name} {value}" for name, value in each.parameters.items())
            key = (run.scope, f"{each.name} {each.metric}{conditions}", each.unit)
            found[key].append((run.started_at, each.value, run.commit))
    return [
        Trend(
            scope=scope,
            name=name,
            unit=unit,
            points=tuple((at, value) for at, value, _ in points[-most:]),
            commits=tuple(commit for _, _, commit in points[-most:]),
        )
        for (scope, name, unit), points in found.items()
        if len(points) > 1
    ]
