"""What the judgement of pairs is worth for a measure here: one commit, compared with itself. Pure.

- An alarm is a regression between two copies: whatever it was, it was chance.
- `seen` is the slowdown that would have been noticed in 8 of 10 comparisons.
- A measure can gate if it raised no alarm, and `seen` is no larger than what has to be noticed.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kvsync.ci.paired.judgement import PairedLimits, PairedMetric
from kvsync.testing.results.measurement import Measurement, quantile

POWER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What so many comparisons of one metric with itself showed; `seen` is a share; None: nothing is."""

    name: str
    trials: int
    alarms: int
    seen: float | None

    def can_gate(self, limits: PairedLimits) -> bool:
        """Say whether a pull request may be judged by the metric."""
        return not self.alarms and self.seen is not None and self.seen <= limits.seen

    def __str__(self) -> str:
        sees = "no slowdown is seen" if self.seen is None else f"one of {self.seen:.0%} is seen"
        return f"compared with itself {self.trials} times, {self.alarms} false alarms; {sees}"

    def measurements(self) -> Iterator[Measurement]:
        """Return it as what a run keeps for trends."""
        for metric, share in (("aa_false_alarms", self.alarms / self.trials), ("aa_seen", self.seen)):
            if share is not None:
                percent = round(share * 100, 1)
                yield Measurement(name=self.name, metric=metric, value=percent, unit="%", samples=self.trials)


def calibrated(trials: Sequence[Sequence[PairedMetric]]) -> list[Calibration]:
    """Return what comparisons of a commit with itself say of each metric, in the order of the first one."""
    names = dict.fromkeys(metric.name for trial in trials for metric in trial)
    found = {name: [each for trial in trials for each in trial if each.name == name] for name in names}
    return [
        Calibration(
            name=name,
            trials=len(metrics),
            alarms=sum(each.verdict == "regression" for each in metrics),
            seen=_seen(metrics),
        )
        for name, metrics in found.items()
    ]


def _seen(metrics: Sequence[PairedMetric]) -> float | None:
    found = quantile((math.inf if each.seen is None else each.seen for each in metrics), POWER)
    return found if math.isfinite(found) else None
