"""What is shown of measures that were compared with those of a base. Pure.

- A check for each measure: passed, failed (slower), or inconclusive where it cannot be told.
- A measure that the base has and the tested code has not is inconclusive: nobody knows whether it got worse.
  One that only the tested code has is compared from the next change on.
- A name that is asked for, and that nothing measured has, is inconclusive: what it was to gate is not gated.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import median

from kvsync.ci.paired.calibration import Calibration
from kvsync.ci.paired.judgement import NOT_SLOWER, PairedLimits, PairedMetric, PairedVerdict
from kvsync.ci.paired.trial import Side
from kvsync.testing.results.outcome import Check, CheckKind

MEASURE = "measure"
"""The property of such a check that says what was measured."""

SLOWER = "slower"
"""The property that says by how many percent more the tested code costs."""

UNKNOWN = (
    "nothing that is measured has this name; mend `measures` of `compare`: the report lists what is measured"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparison:
    """What was found between two versions: the commit that is the base, and how to find it again."""

    base: str
    pairs: int
    limits: PairedLimits
    is_shown_only: bool
    again: str
    metrics: Sequence[PairedMetric] = ()
    alone: Mapping[str, Side] | None = None
    asked: Sequence[str] = ()

    def checks(self) -> list[Check]:
        """Return a check for each measure, and one that says so if there is none."""
        found = [self._check(each) for each in self.metrics]
        found += [self._of_one_side(name) for name, side in (self.alone or {}).items() if side != "head"]
        found += [self._undecided(title(name), UNKNOWN) for name in self.asked if not self._has(name)]
        return found or [self._undecided("compared with its base", "nothing was measured of both versions")]

    def remarks(self) -> Iterator[str]:
        """Say what was not compared, and which measures cannot gate."""
        for name, side in (self.alone or {}).items():
            if side == "head":
                yield f"{name} is new: it is compared from the next change on"
        blind = [each.name for each in self.metrics if _is_blind(each, self.limits)]
        if blind:
            yield f"unable to gate at {self.limits.seen:.0%}, its noise hides that: {', '.join(blind)}"

    def _has(self, name: str) -> bool:
        measured = [*(each.name for each in self.metrics), *(self.alone or {})]
        return any(fnmatchcase(each, name) for each in measured)

    def _check(self, metric: PairedMetric) -> Check:
        kinds: Mapping[PairedVerdict, CheckKind] = {"passed": "passed", "regression": "failed"}
        kind = kinds.get(metric.verdict, self._doubtful)
        return Check(
            name=title(metric.name),
            kind=kind,
            detail="\n".join([self._headline(metric), self._numbers(metric), f"again: {self.again}"]),
            properties={MEASURE: metric.name, SLOWER: f"{metric.change:.2%}"},
        )

    def _headline(self, metric: PairedMetric) -> str:
        match metric.verdict:
            case "regression":
                return f"it costs {metric.change:.1%} more than at {self.base[:12]}"
            case "passed":
                return f"it does not cost {self.limits.seen:.0%} more than at {self.base[:12]}"
        if metric.problem:
            return metric.problem
        sees = f"only one of {metric.seen:.0%}" if metric.seen is not None else "nor one of 200%"
        return f"unable to gate: a slowdown of {self.limits.seen:.0%} would not be seen, {sees}"

    def _numbers(self, metric: PairedMetric) -> str:
        before, after = (median(each) for each in (metric.samples.base, metric.samples.head))
        return (
            f"medians of {self.pairs} pairs: {before:.4g} {metric.samples.unit} there, {after:.4g} here "
            f"({metric.change:+.1%}, p = {metric.p:.2g} by Mann and Whitney's test)"
        )

    def _of_one_side(self, name: str) -> Check:
        side = (self.alone or {})[name]
        why = f"it is measured at {self.base[:12]}, and not by this code; measure it again, or accept that"
        some = "not every process measured it"
        return self._undecided(title(name), why if side == "base" else some, {MEASURE: name})

    def _undecided(self, name: str, why: str, properties: Mapping[str, str] | None = None) -> Check:
        detail = f"{why}\nagain: {self.again}"
        return Check(name=name, kind=self._doubtful, detail=detail, properties=properties or {})

    @property
    def _doubtful(self) -> CheckKind:
        return "skipped" if self.is_shown_only else "inconclusive"


def title(measure: str) -> str:
    """Return what the check of a measure is called."""
    return f"{measure}{NOT_SLOWER}"


def able_to_gate(found: Calibration, limits: PairedLimits) -> Check:
    """Return the check that a measure can gate; that it cannot is shown, and decides nothing."""
    can = found.can_gate(limits)
    detail = str(found) if can else f"unable to gate at {limits.seen:.0%}: {found}"
    return Check(name=f"{found.name}: able to gate", kind="passed" if can else "skipped", detail=detail)


def _is_blind(metric: PairedMetric, limits: PairedLimits) -> bool:
    return not metric.problem and (metric.seen is None or metric.seen > limits.seen)
