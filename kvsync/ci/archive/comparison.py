"""What is new in a run: each of its checks against how the same one ended on the reference branch. Pure.

- A failure is known when the check's last decided ending there was a failure too, and has an age: since the
  first of the failures that no pass interrupts. What was not decided in between changes nothing.
- A failure of a check that is flaky there is neither: it says little about this commit.
- Every failure is counted once, so what a status says adds up to what failed.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Literal, Self, get_args

from kvsync.ci.archive.flakiness import Ending, failing_streak, flakiness, is_mixed, side
from kvsync.ci.report.difference import RunDifference
from kvsync.ci.report.moves import moved
from kvsync.testing.results.outcome import Check, Outcome, StageResult

CheckStatus = Literal["new", "known", "flaky", "quarantined", "inconclusive", "fixed", "new-test"]

STATUS_CHARACTERS = 140
"""What GitHub takes as the description of a commit status."""

CheckId = tuple[str, str]
"""A stage and the name of a check in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one check stands. `since_*`: the first failure of those that go on, or are over when fixed.

    `flaky_failure`: that a flaky one failed now; it may have passed as well.
    """

    check: str
    stage: str
    status: CheckStatus
    flaky_failure: bool = False
    since_run: str = ""
    since_commit: str = ""
    since: datetime | None = None

    @property
    def failed(self) -> bool:
        """Whether it failed now."""
        return self.status in ("new", "known") or self.flaky_failure

    def text(self, at: datetime) -> str:
        """Say it in words, such as `failing since run 20261109-..., commit abc, 12 d`."""
        if self.since is None:
            return self.status
        word = "failing" if self.status in ("known", "flaky") else "was failing"
        commit = self.since_commit[:10] or "not known"
        return f"{word} since run {self.since_run}, commit {commit}, {_age(at - self.since)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """What changed since the reference branch was last green; the run without a name when it never was.

    `standings` has the checks of which there is something to say; `at` is when the run started. `problem`
    says why nothing could be compared; it is "" when it could. `since_push`: what differs from the push
    before, if it is that of a pull request and there was one.
    """

    last_green: str | None = None
    last_green_commit: str = ""
    standings: Sequence[Standing] = ()
    at: datetime | None = None
    problem: str = ""
    since_push: RunDifference | None = None

    @classmethod
    def impossible(cls, problem: str) -> Self:
        """Return the comparison that could not be made."""
        return cls(problem=problem)

    def of(self, *statuses: CheckStatus, stage: str | None = None) -> list[Standing]:
        """Return the standings with one of these statuses, of one stage or of all."""
        return [each for each in self.standings if each.status in statuses and stage in (None, each.stage)]

    def status_text(self, stage: str | None = None) -> str:
        """Say in at most 140 characters how many failed, how much of it is new, and what else changed.

        Of a stage or of all: `5 failed: 2 new, 3 known (oldest 12 d); 1 fixed`.
        """
        if self.problem:
            return _cut(f"not compared: {self.problem}")
        here = [each for each in self.standings if stage in (None, each.stage)]
        failed = [each for each in here if each.failed]
        causes = [self._part(status, failed) for status in get_args(CheckStatus)]
        parts = [f"{len(failed)} failed: {', '.join(filter(None, causes))}"] if failed else []
        others = [each for each in here if not each.failed]
        parts += filter(None, (self._part(status, others) for status in get_args(CheckStatus)))
        if not parts:
            return "nothing changed" if self.last_green else "nothing to compare with yet"
        return _cut("; ".join(parts))

    def _part(self, status: CheckStatus, among: Sequence[Standing]) -> str:
        found = [each for each in among if each.status == status]
        if not found:
            return ""
        if status == "known" and self.at is not None:
            ages = [self.at - each.since for each in found if each.since]
            return f"{len(found)} known" + (f" (oldest {_age(max(ages))})" if ages else "")
        if status == "new-test":
            return "1 test is new" if len(found) == 1 else f"{len(found)} tests are new"
        passed = " but passed" if status == "flaky" and not found[0].failed else ""
        return f"{len(found)} {status}{passed}"


def compare(
    stages: Sequence[StageResult],
    past: Mapping[CheckId, Sequence[Ending]],
    *,
    unseen: Set[CheckId],
    gone: Set[CheckId] = frozenset(),
    at: datetime,
    commit: str,
    last_green: tuple[str, str] | None,
) -> RunComparison:
    """Compare a run that started at `at` with the endings of the runs before it, the oldest first.

    `past` needs the checks that do not pass now or did not lately. `unseen` are those of the run that the
    reference branch did not run lately, `gone` those of it that the run has not: a test that moved to another
    shard is the same one. `commit`: of the run, "" if its files were not those of one. `last_green`: the run
    and its commit.
    """
    found = []
    here = {key for stage in stages for check in stage.checks if (key := (stage.name, check.name)) in past}
    sources = moved({*past, *gone}, {*here, *unseen})
    for stage in stages:
        for check in stage.checks:
            key = (stage.name, check.name)
            is_seen = sources[key] in gone if key in sources else key not in unseen
            endings = past.get(sources.get(key, key), ())
            if is_seen and not endings and check.kind == "passed":
                continue  # as most do: there is nothing to say of it
            now = Ending(
                run="", commit=commit, at=at, kind=check.kind, mixed=is_mixed(check), reference=False
            )
            standing = _standing(stage.name, check, endings, now, is_seen=is_seen)
            if standing:
                found.append(standing)
    run, green_commit = last_green or (None, "")
    return RunComparison(last_green=run, last_green_commit=green_commit, standings=tuple(found), at=at)


def apart(ones: Iterable[CheckId], others: Iterable[CheckId]) -> tuple[set[CheckId], set[CheckId]]:
    """Return what only one side has, and only the other; little is held if they have the same order."""
    left: tuple[set[CheckId], set[CheckId]] = (set(), set())
    for one, other in zip_longest(ones, others):
        if one == other:
            continue
        for here, key in enumerate((one, other)):
            if key in left[1 - here]:
                left[1 - here].discard(key)
            elif key:
                left[here].add(key)
    return left


def _standing(
    stage: str, check: Check, endings: Sequence[Ending], now: Ending, *, is_seen: bool
) -> Standing | None:
    streak = failing_streak(endings)
    # Without endings there are only its own attempts to judge, and most checks have neither.
    is_flaky = bool(endings or now.mixed) and flakiness([*endings, now]).verdict == "flaky"
    status = _status(check, is_flaky=is_flaky, was_failing=bool(streak), is_seen=is_seen)
    if status is None:
        return None
    flaky_failure = status == "flaky" and check.outcome is Outcome.FAILED
    if not streak or status not in ("known", "flaky", "fixed", "quarantined"):
        return Standing(check=check.name, stage=stage, status=status, flaky_failure=flaky_failure)
    first = streak[0]
    return Standing(
        check=check.name,
        stage=stage,
        status=status,
        flaky_failure=flaky_failure,
        since_run=first.run,
        since_commit=first.commit,
        since=first.at,
    )


def _status(check: Check, *, is_flaky: bool, was_failing: bool, is_seen: bool) -> CheckStatus | None:
    match check.kind, side(check.kind):
        case ("quarantined" | "flaky") as kind, _:
            return kind
        case (("skipped" | "measured"), _):
            return None
        case _, None:
            return "inconclusive"
        case _, "failed":
            return "flaky" if is_flaky else "known" if was_failing else "new"
    if was_failing:
        return None if is_flaky else "fixed"
    return "new-test" if not is_seen and "::" in check.name else None


def _age(age: timedelta) -> str:
    hours = age // timedelta(hours=1)
    return f"{hours // 24} d" if hours >= 24 else f"{hours} h"


def _cut(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= STATUS_CHARACTERS else f"{one_line[: STATUS_CHARACTERS - 1]}…"
