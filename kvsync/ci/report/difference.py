"""Two runs side by side: what fails now and did not, what is fixed, new, gone, undecided or slower. Pure.

- A failure that is gone, skipped or set aside now is not fixed: only a pass mends it.
- Checks are told apart by stage and name. Those that share both are compared in order, the worst with the
  worst, so that one more failure among them is seen.
- A test that moved to another shard is the same one.
- A check is slower if it passed in both and took `SLOWER_RATIO` times as long and `SLOWER_S` more: short
  tests vary by more than that for no reason.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import PurePath
from typing import Literal

from kvsync.ci.report.moves import moved
from kvsync.ci.report.owners import owners_of
from kvsync.ci.report.report import EXIT_STATUS, Report
from kvsync.testing.results.outcome import Check, Outcome, StageResult

Change = Literal["newly failing", "still failing", "undecided", "fixed", "slower", "gone", "new"]

SLOWER_RATIO, SLOWER_S = 1.5, 1.0

_Waiting = dict[str, list[tuple[int, Check]]]

Key = tuple[str, str, int]
"""A stage, the name of a check in it, and which of those with this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckChange:
    """How one check differs; `before` or `after` is None where the check was not run."""

    stage: str
    check: str
    change: Change
    before: Check | None
    after: Check | None

    @property
    def headline(self) -> str:
        """The line that says most of why it does not pass, or did not."""
        shown = self.after if self.after and self.after.outcome is not Outcome.PASSED else self.before
        return shown.headline if shown and shown.outcome is not Outcome.PASSED else ""

    @property
    def owners(self) -> str:
        """Who owns the check, if it does not pass."""
        return owners_of(self.after) if self.after else ""

    def to_json(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {
            "stage": self.stage,
            "check": self.check,
            "change": self.change,
            "before": self.before.kind if self.before else None,
            "after": self.after.kind if self.after else None,
            "before_s": self.before.duration_s if self.before else None,
            "after_s": self.after.duration_s if self.after else None,
            "owners": self.owners,
            "headline": self.headline,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StageChange:
    """A stage in both runs; None in the one that did not have it."""

    name: str
    before: StageResult | None
    after: StageResult | None

    def to_json(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {
            "stage": self.name,
            "before": self.before.outcome.name.lower() if self.before else None,
            "after": self.after.outcome.name.lower() if self.after else None,
            "before_s": self.before.duration_s if self.before else None,
            "after_s": self.after.duration_s if self.after else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDifference:
    """What `after` does that `before` did not.

    `stages` are those of either run, `checks` those that differ, the most important change first.
    `remarks` say why the two may not be comparable.
    """

    before: Report
    after: Report
    stages: Sequence[StageChange]
    checks: Sequence[CheckChange]
    remarks: Sequence[str] = ()

    def of(self, change: Change) -> list[CheckChange]:
        """Return the checks that differ in this way."""
        return [each for each in self.checks if each.change == change]

    @property
    def no_longer_judged(self) -> list[str]:
        """The stages that `before` brought to a result, and `after` tried and did not."""
        return [
            each.name
            for each in self.stages
            if each.before
            and each.after
            and each.after.outcome is Outcome.UNKNOWN
            and each.before.outcome is not Outcome.UNKNOWN
        ]

    @property
    def summary(self) -> str:
        """How many checks differ in which way, in one line."""
        counts = [f"{len(changed)} {change}" for change in CHANGES if (changed := self.of(change))]
        if self.no_longer_judged:
            counts.append(f"no longer judged: {', '.join(self.no_longer_judged)}")
        return ", ".join(counts) or "no difference"

    @property
    def exit_status(self) -> int:
        """1 if something newly fails; else 2 if a stage is no longer judged; else 0."""
        if self.of("newly failing"):
            return EXIT_STATUS[Outcome.FAILED]
        return EXIT_STATUS[Outcome.UNKNOWN if self.no_longer_judged else Outcome.PASSED]

    def to_json(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {
            "before": _facts(self.before),
            "after": _facts(self.after),
            "remarks": list(self.remarks),
            "stages": [each.to_json() for each in self.stages],
            "checks": [each.to_json() for each in self.checks],
        }


def difference(before: Report, after: Report) -> RunDifference:
    """Compare two runs."""
    same = {
        one.name: _same(one.checks, other.checks)
        for one in before.stages
        for other in after.stages
        if one.name == other.name
    }
    ones = _checks(before, {name: places for name, (places, _) in same.items()})
    others = _checks(after, {name: places for name, (_, places) in same.items()})
    found, sources = [], moved(ones, others)
    left = set(sources.values())
    for key in chain(others, (key for key in ones if key not in others and key not in left)):
        one, other = ones.get(sources.get(key, key)), others.get(key)
        change = _change(one, other)
        if change:
            stage, name, _ = key
            found.append(CheckChange(stage=stage, check=name, change=change, before=one, after=other))
    return RunDifference(
        before=before,
        after=after,
        stages=_stages(before, after),
        checks=sorted(found, key=lambda each: CHANGES.index(each.change)),
        remarks=_remarks(before, after),
    )


CHANGES: tuple[Change, ...] = (
    *("newly failing", "still failing", "undecided"),
    *("fixed", "slower", "gone", "new"),
)
"""The most important one first."""


def _change(before: Check | None, after: Check | None) -> Change | None:
    if after is None:
        return "gone"
    if after.outcome is Outcome.FAILED:
        return "still failing" if before and _fails(before) else "newly failing"
    if before is None:
        return "new"
    if after.outcome is Outcome.UNKNOWN:
        was_decided = before.outcome is not Outcome.UNKNOWN or before.kind == "quarantined"
        return "undecided" if was_decided and after.kind != before.kind else None
    if _fails(before):
        return "fixed"
    is_slower = after.duration_s >= max(before.duration_s * SLOWER_RATIO, before.duration_s + SLOWER_S)
    return "slower" if before.outcome is Outcome.PASSED and is_slower else None


def _fails(check: Check) -> bool:
    return check.outcome is Outcome.FAILED or check.kind == "quarantined"


def _same(before: Sequence[Check], after: Sequence[Check]) -> tuple[bytearray, bytearray]:
    """Mark, by their places, the checks of a stage of which nothing is to be said: nearly all of 100,000.

    Both sides are gone through together: only those wait whose partner has another place.
    """
    same = bytearray(len(before)), bytearray(len(after))
    waiting: tuple[_Waiting, _Waiting] = (defaultdict(list), defaultdict(list))
    for place, pair in enumerate(zip_longest(before, after)):
        for side, check in enumerate(pair):
            if check is None:
                continue
            partners = waiting[1 - side].get(check.name)
            if not partners:
                waiting[side][check.name].append((place, check))
                continue
            there, partner = partners.pop(0)
            if not partners:
                del waiting[1 - side][check.name]
            if not (_change(check, partner) if side == 0 else _change(partner, check)):
                same[side][place] = same[1 - side][there] = True
    return same


def _checks(report: Report, same: Mapping[str, bytearray]) -> Mapping[Key, Check]:
    """Return the checks by their keys, without those that are the same in the other run."""
    found: dict[Key, Check] = {}
    alike: dict[tuple[str, str], list[Check]] = defaultdict(list)
    for stage in report.stages:
        marks = same.get(stage.name, bytes(len(stage.checks)))
        for check in (stage.checks[place] for place, is_same in enumerate(marks) if not is_same):
            if found.setdefault((stage.name, check.name, 0), check) is not check:
                alike[stage.name, check.name].append(check)
    for (name, shared), more in alike.items():
        worst_first = sorted([found[name, shared, 0], *more], key=lambda each: (-each.outcome, -_fails(each)))
        found |= {(name, shared, position): check for position, check in enumerate(worst_first)}
    return found


def _stages(before: Report, after: Report) -> list[StageChange]:
    ones, others = ({stage.name: stage for stage in report.stages} for report in (before, after))
    return [
        StageChange(name=name, before=ones.get(name), after=others.get(name))
        for name in dict.fromkeys([*ones, *others])
    ]


def _remarks(before: Report, after: Report) -> list[str]:
    ones, others = _circumstances(before), _circumstances(after)
    return [
        f"{name} differs: {ones[name]}, then {others[name]}" for name in ones if ones[name] != others[name]
    ]


def _circumstances(report: Report) -> dict[str, str]:
    """Return what has to be the same for two runs to be comparable."""
    asked = report.parameters
    source = asked.get("source")
    fetched = source.get("repository") or source.get("url") if isinstance(source, Mapping) else ""
    return {
        "repository": str(fetched or PurePath(str(asked.get("repository", ""))).name),
        "profile": str(asked.get("profile", "quick")),
        "cluster": str(asked.get("cluster", "local")),
    }


def _facts(report: Report) -> dict[str, object]:
    return {
        "run": report.run,
        "verdict": report.verdict.name.lower(),
        "reason": report.reason,
        "commit": report.commit,
        "branch": report.branch,
        "dirty": report.differs,
        "duration_s": report.duration_s,
    }
