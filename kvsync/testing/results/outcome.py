"""Outcomes, and the rules that merge them.

- PASSED < UNKNOWN < FAILED: a merge is as bad as its worst part, and a merge of nothing is UNKNOWN.
- A check says how it ended (its kind); its outcome follows from the kind, so the two never disagree.
- A skipped check proves nothing: it stays visible, and a stage in which every check was skipped is UNKNOWN.
  Nor does one that only measured something, of which nothing was asked.
- A flaky check passed at its last attempt; the attempts before are kept and shown.
- A quarantined check failed, and its repository says for a time that this does not gate: it is shown
  wherever a failure is and, like a skipped one, spoils and proves nothing.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import IntEnum
from operator import eq
from sys import intern
from typing import Literal, Self, cast, overload

from kvsync.testing.results.texts import shortened

CheckKind = Literal[
    "passed",
    "xfailed",
    "flaky",
    "skipped",
    "measured",
    "quarantined",
    "not-run",
    "void",
    "inconclusive",
    "infra-error",
    "failed",
    "error",
    "timeout",
]


class Outcome(IntEnum):
    """How something ended, ordered from best to worst."""

    PASSED = 0
    UNKNOWN = 1
    FAILED = 2


OUTCOMES: Mapping[CheckKind, Outcome] = {
    "passed": Outcome.PASSED,
    "xfailed": Outcome.PASSED,
    "flaky": Outcome.PASSED,
    "skipped": Outcome.UNKNOWN,
    "measured": Outcome.UNKNOWN,
    "quarantined": Outcome.UNKNOWN,
    "not-run": Outcome.UNKNOWN,
    "void": Outcome.UNKNOWN,
    "inconclusive": Outcome.UNKNOWN,
    "infra-error": Outcome.UNKNOWN,
    "failed": Outcome.FAILED,
    "error": Outcome.FAILED,
    "timeout": Outcome.FAILED,
}

ASIDE: frozenset[CheckKind] = frozenset({"skipped", "measured", "quarantined"})
"""What a merge looks past: kinds that are shown and decide nothing."""

NEUTRAL: frozenset[CheckKind] = frozenset({"skipped", "measured"})
"""Those of them that nobody has to do anything about."""


def worded(kind: str) -> str:
    """Return a kind as people read it everywhere, such as `not run`; data has it as it is."""
    return kind.replace("-", " ")


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst outcome; without any, UNKNOWN: no evidence is never green."""
    return max(outcomes, default=Outcome.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An earlier attempt at a check."""

    kind: CheckKind
    detail: str = ""
    duration_s: float = 0.0


NOTHING: Mapping[str, str] = {}
"""What most checks have for properties: one for all of them, since a run may have 100,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was checked. `detail` says why it did not pass, `log_tail` is what it printed last."""

    name: str
    kind: CheckKind
    detail: str = ""
    duration_s: float = 0.0
    log_tail: str = ""
    properties: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    attempts: Sequence[Attempt] = ()

    @property
    def outcome(self) -> Outcome:
        """The outcome that the kind stands for."""
        return OUTCOMES[self.kind]

    @property
    def headline(self) -> str:
        """The line of the detail that says most: pytest's first `E` line, or else the first with text.

        A long one is cut in its middle; the detail has all of it.
        """
        lines = [line.strip() for line in self.detail.splitlines() if line.strip()]
        errors = [line[1:].strip() for line in lines if line.startswith("E  ")]
        return shortened(next(iter(errors or lines), ""))

    def json_fields(self) -> dict[str, object]:
        """Return the check as plain JSON values; the outcome is in it for readers without these rules."""
        return {
            "name": self.name,
            "kind": self.kind,
            "outcome": self.outcome.name.lower(),
            "detail": self.detail,
            "duration_s": self.duration_s,
            "log_tail": self.log_tail,
            "properties": dict(self.properties),
            "attempts": [
                {"kind": each.kind, "detail": each.detail, "duration_s": each.duration_s}
                for each in self.attempts
            ],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Self:
        """Build a check from its JSON; KeyError or TypeError for anything else."""
        fields = dict(value)
        fields.pop("outcome", None)
        attempts = cast("list[dict[str, object]]", fields.pop("attempts"))
        fields["kind"] = intern(str(fields["kind"]))
        fields["properties"] = fields.get("properties") or NOTHING
        return cls(**fields, attempts=tuple(Attempt(**each) for each in attempts))  # type: ignore[arg-type]  # checked by name only


class Checks(Sequence[Check]):
    """Checks in little room: a run may have 100,000, most of which differ in their name and time only.

    They are made anew whenever they are looked at; where only their kinds or texts matter, `forms`, `where`
    and `kinds` make hardly any.
    """

    def __init__(self, checks: Iterable[Check] = ()) -> None:
        self._names, self._ends = bytearray(), array("Q")
        self._times, self._forms = array("d"), array("L")
        self._known: list[Check] = []
        self._places: dict[tuple[object, ...], int] = {}
        for check in checks:
            self.append(check)

    def append(self, check: Check) -> None:
        """Add one more; only for whoever makes them."""
        self._names += check.name.encode(errors="surrogatepass")
        self._ends.append(len(self._names))
        self._times.append(check.duration_s)
        self._forms.append(self._form(check))

    def put(self, place: int, check: Check) -> None:
        """Say otherwise how one ended, by its place; only for whoever makes them."""
        self._times[place], self._forms[place] = check.duration_s, self._form(check)

    def name(self, place: int) -> str:
        """Return the name of one, by its place."""
        begin = self._ends[place - 1] if place else 0
        return self._names[begin : self._ends[place]].decode(errors="surrogatepass")

    def forms(self) -> Sequence[Check]:
        """Return what they are but for name and time, each once, in the order in which it comes first."""
        return [self._known[number] for number in dict.fromkeys(self._forms)]

    def where(self, fits: Callable[[Check], bool]) -> Iterator[Check]:
        """Return those that fit, whatever their name and time."""
        fitting = {number for number in set(self._forms) if fits(self._known[number])}
        return self._of(fitting) if fitting else iter(())

    def kinds(self) -> Counter[CheckKind]:
        """Return how many there are of each kind."""
        found: Counter[CheckKind] = Counter()
        for number, count in Counter(self._forms).items():
            found[self._known[number].kind] += count
        return found

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[Check]:
        return self._of(range(len(self._known)))

    def _of(self, forms: Container[int]) -> Iterator[Check]:
        names, known, begin = self._names, self._known, 0
        for end, time, number in zip(self._ends, self._times, self._forms, strict=True):
            if number in forms:
                yield _as(known[number], names[begin:end].decode(errors="surrogatepass"), time)
            begin = end

    @overload
    def __getitem__(self, place: int) -> Check: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Check]: ...

    def __getitem__(self, place: int | slice) -> Check | Sequence[Check]:
        places = range(len(self))[place]
        if isinstance(places, range):
            return tuple(map(self.__getitem__, places))
        return _as(self._known[self._forms[places]], self.name(places), self._times[places])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return self is other or (len(self) == len(other) and all(map(eq, self, other)))

    __hash__ = None  # type: ignore[assignment]  # as of anything that is not frozen

    def __repr__(self) -> str:
        return f"Checks({list(self)})"

    def _form(self, check: Check) -> int:
        """Return the number of what a check is but for name and time: nearly always that of the last."""
        if self._forms and _is_alike(check, self._known[self._forms[-1]]):
            return self._forms[-1]
        properties = tuple(check.properties.items())
        key = (check.kind, check.detail, check.log_tail, properties, tuple(check.attempts))
        number = self._places.get(key)
        if number is None:
            number = len(self._known)
            self._known.append(_as(check, "", 0.0))
            if number < MOST_FORMS:
                self._places[key] = number
        return number


MOST_FORMS = 1_000
"""How many kinds and texts are looked for among earlier ones; more would take the room that this saves."""


def _is_alike(one: Check, other: Check) -> bool:
    """Say whether checks of any name and time passed, or ended otherwise, without a word."""
    return (
        one.kind == other.kind
        and not (one.detail or other.detail or one.log_tail or other.log_tail)
        and not (one.properties or other.properties or one.attempts or other.attempts)
    )


def _as(check: Check, name: str, duration_s: float) -> Check:
    """Return a check under another name; `replace` takes longer."""
    return Check(
        name=name,
        kind=check.kind,
        detail=check.detail,
        duration_s=duration_s,
        log_tail=check.log_tail,
        properties=check.properties,
        attempts=check.attempts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """How a stage ended. `reason` is a sentence for readers of that alone; `log` is a path or None.

    `remarks`: what was odd about the files that it was read from, without a doubt about the result.
    """

    name: str
    outcome: Outcome
    checks: Sequence[Check] = ()
    reason: str = ""
    started_at: datetime
    duration_s: float = 0.0
    log: str | None = None
    remarks: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.checks, Checks):
            object.__setattr__(self, "checks", Checks(self.checks))

    @property
    def _checks(self) -> Checks:
        return cast("Checks", self.checks)

    def where(self, fits: Callable[[Check], bool]) -> Iterator[Check]:
        """Yield the checks that fit, whatever their name and time: quick where these are few."""
        return self._checks.where(fits)

    def has(self, fits: Callable[[Check], bool]) -> bool:
        """Say whether any check fits, whatever its name and time."""
        return any(map(fits, self._checks.forms()))

    @classmethod
    def unknown(cls, name: str, reason: str, *, started_at: datetime | None = None, detail: str = "") -> Self:
        """Return the result of a stage that could not be carried out: one check, not run, says why."""
        check = Check(name=name, kind="not-run", detail=detail or reason)
        return cls(
            name=name,
            outcome=Outcome.UNKNOWN,
            checks=(check,),
            reason=reason,
            started_at=started_at or datetime.now(UTC),
        )

    @property
    def counts(self) -> Mapping[CheckKind, int]:
        """How many checks ended in each way, in the order of `Kind`."""
        found = self._checks.kinds()
        return {kind: found[kind] for kind in OUTCOMES if found[kind]}

    def doubted(self, doubt: str) -> Self:
        """Return the same result, at best UNKNOWN: `doubt` says what its checks do not show."""
        reason = "; ".join(filter(None, [self.reason, doubt]))
        return replace(self, outcome=max(self.outcome, Outcome.UNKNOWN), reason=reason)

    @property
    def doubt(self) -> str:
        """What was said on top of what the checks show; empty if the checks say everything."""
        shown = merge(self.name, self.checks, started_at=self.started_at)
        return self.reason.removeprefix(shown.reason).removeprefix("; ")

    def summary(self) -> str:
        """Say in one line how the stage ended."""
        counts = ", ".join(f"{count} {worded(kind)}" for kind, count in self.counts.items())
        return ": ".join(filter(None, [f"{self.outcome.name}: {self.name}", self.reason or counts]))

    def to_json(self) -> dict[str, object]:
        """Return the result as plain JSON values."""
        return {**self.json_fields(), "checks": [check.json_fields() for check in self.checks]}

    def json_fields(self) -> dict[str, object]:
        """Return the same, its checks as they are."""
        return {
            "name": self.name,
            "outcome": self.outcome.name.lower(),
            "checks": self.checks or [],
            "reason": self.reason,
            "started_at": self.started_at.isoformat(),
            "duration_s": self.duration_s,
            "log": self.log,
            **({"remarks": list(self.remarks)} if self.remarks else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Self:
        """Build a result from its JSON, in which checks may be values; KeyError or TypeError for all else."""
        checks = cast("list[dict[str, object] | Check] | Checks", value["checks"])
        changed = {
            "outcome": Outcome[str(value["outcome"]).upper()],
            "checks": checks
            if isinstance(checks, Checks)
            else Checks(each if isinstance(each, Check) else Check.from_json(each) for each in checks),
            "started_at": datetime.fromisoformat(str(value["started_at"])),
            "remarks": tuple(cast("list[str]", value.get("remarks", ()))),
        }
        return cls(**{**value, **changed})  # type: ignore[arg-type]  # checked by name only


def merge(
    name: str,
    checks: Iterable[Check],
    *,
    started_at: datetime,
    duration_s: float = 0.0,
    log: str | None = None,
) -> StageResult:
    """Merge checks into the result of their stage, by the rules above."""
    every = checks if isinstance(checks, Checks) else Checks(checks)
    outcome = worst(form.outcome for form in every.forms() if form.kind not in ASIDE)
    return StageResult(
        name=name,
        outcome=outcome,
        checks=every,
        reason=_reason(outcome, every),
        started_at=started_at,
        duration_s=duration_s,
        log=log,
    )


def _reason(outcome: Outcome, checks: Checks) -> str:
    if not checks:
        return "no test ran"
    kinds = checks.kinds()
    if kinds.keys() <= ASIDE:
        return f"all {len(checks)} {' or '.join(kinds)}: {checks[0].headline}"
    if outcome is Outcome.PASSED:
        return ""
    first = next(checks.where(lambda form: form.outcome is outcome and form.kind not in ASIDE))
    bad = sum(count for kind, count in kinds.items() if OUTCOMES[kind] is outcome and kind not in ASIDE)
    name = shortened(first.name.rpartition("::")[2])
    said = ": ".join(filter(None, [name, first.headline]))
    word = "failed" if outcome is Outcome.FAILED else "undecided"
    return f"{bad} of {len(checks)} {word}: {said}"
