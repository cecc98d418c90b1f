"""How long stages take and what runs measure, run by run, and where that changed. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from kvsync.ci.archive.records import PastRun, RunScope
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import Outcome

LEAST = 5
"""Values on either side of a change: fewer are one bad day."""

SHIFT = 0.2
"""A change of less than a fifth is not marked."""

NOISE = 3.0
"""By how many typical deviations the two sides have to differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """One number over the runs of a scope, the oldest first; `unit` is "s" for durations."""

    scope: RunScope
    name: str
    unit: str
    points: Sequence[tuple[datetime, float]]

    @property
    def values(self) -> list[float]:
        """The numbers, without their times."""
        return [value for _, value in self.points]

    @property
    def changed(self) -> int | None:
        """The first point after the change, None without one."""
        return change(self.values)


def change(values: Sequence[float]) -> int | None:
    """Return where a series moved from one level to another, as the index of the first after it, or None.

    It is split where both sides lie closest to their medians. The change counts when these differ by a fifth
    and by more than the values around them do.
    """
    splits = range(LEAST, len(values) - LEAST + 1)
    if not splits:
        return None
    at = min(splits, key=lambda split: _spread(values[:split]) + _spread(values[split:]))
    before, after = median(values[:at]), median(values[at:])
    noise = (_spread(values[:at]) + _spread(values[at:])) / len(values)
    difference = abs(after - before)
    return at if difference >= SHIFT * abs(before) and difference > NOISE * noise else None


def trends(
    runs: Sequence[PastRun], measured: Mapping[str, Sequence[Measurement]], *, most: int
) -> list[Trend]:
    """Arrange what runs, the newest first, say of stages that passed and of what they measured.

    Runs of two scopes are never in one series. Of each series the last `most` points are kept, and no series
    of one point.
    """
    found: dict[tuple[RunScope, str, str], list[tuple[datetime, float]]] = defaultdict(list)
    for run in reversed(runs):
        for stage in run.stages:
            if stage.outcome is Outcome.PASSED and stage.duration_s > 0:
                found[run.scope, f"stage {stage.name}", "s"].append((run.started_at, stage.duration_s))
        for each in measured.get(run.run, ()):
            conditions = "".join(f", {name} {value}" for name, value in each.parameters.items())
            key = (run.scope, f"{each.name} {each.metric}{conditions}", each.unit)
            found[key].append((run.started_at, each.value))
    return [
        Trend(scope=scope, name=name, unit=unit, points=tuple(points[-most:]))
        for (scope, name, unit), points in found.items()
        if len(points) > 1
    ]


def _spread(values: Sequence[float]) -> float:
    middle = median(values)
    return sum(abs(value - middle) for value in values)
