"""Ours and a peer's, in turns, each time in a fresh process: ours, the peer's, the peer's, ours, and so on.

What counts is the ratio of CPU times of the same run. A number of one turn is the least of many rounds; of
the turns the median is told, and how far they lie apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from kvsync.testing.benchmarks.gauge import Gauge

Figures = Mapping[str, float]
"""What one process measured, by name: what begins with `resident` in bytes, all else in microseconds."""


@dataclass(frozen=True, slots=True)
class Contest:
    """The figures of both sides; those at one place were measured one after the other."""

    ours: Sequence[Figures]
    theirs: Sequence[Figures]

    def record(self, gauge: Gauge) -> None:
        """Record each figure of both sides, how far its turns lie apart, and the ratio of ours to theirs.

        A spread is the range of all turns as a share of their median.
        """
        for figure in sorted(self.ours[0].keys() & self.theirs[0].keys()):
            ours, theirs = ([turn[figure] for turn in side] for side in (self.ours, self.theirs))
            unit = "B" if figure.startswith("resident") else "us"
            for side, values in (("ours", ours), ("peer", theirs)):
                middle, count = median(values), len(values)
                gauge.record(f"{figure}_{side}", middle, unit, samples=count)
                spread = (max(values) - min(values)) / middle
                gauge.record(f"{figure}_{side}_spread", spread, "ratio", samples=count)
            ratios = [above / below for above, below in zip(ours, theirs, strict=True)]
            gauge.record(f"{figure}_ratio", median(ratios), "ratio", samples=len(ratios))


def in_turns(ours: Callable[[], Figures], theirs: Callable[[], Figures], turns: int) -> Contest:
    """Measure both sides so many times, in alternating order."""
    sides = [(ours, list[Figures]()), (theirs, list[Figures]())]
    contest = Contest(sides[0][1], sides[1][1])
    for _ in range(turns):
        for measure, figures in sides:
            figures.append(measure())
        sides.reverse()
    return contest
