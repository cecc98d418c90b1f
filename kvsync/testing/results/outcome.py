"""Outcomes, and the rules that merge them.

- PASSED < UNKNOWN < FAILED: a merge is as bad as its worst part, and a merge of nothing is UNKNOWN.
- A check says how it ended (its kind); its outcome follows from the kind, so the two never disagree.
- A skipped check proves nothing: it stays visible, and a stage in which every check was skipped is UNKNOWN.
  Nor does one that only measured something, of which nothing was asked.
- A flaky check passed at its last attempt; the attempts before are kept and shown.
- A quarantined check failed, and its repository says for a time that this does not gate: it is shown
  wherever a failure is and, like a skipped one, spoils and proves nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import IntEnum
from sys import intern
from typing import Literal, Self, cast

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
        found = Counter(check.kind for check in self.checks)
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
            "checks": self.checks,
            "reason": self.reason,
            "started_at": self.started_at.isoformat(),
            "duration_s": self.duration_s,
            "log": self.log,
            **({"remarks": list(self.remarks)} if self.remarks else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Self:
        """Build a result from its JSON, in which checks may be values; KeyError or TypeError for all else."""
        checks = cast("list[dict[str, object] | Check]", value["checks"])
        changed = {
            "outcome": Outcome[str(value["outcome"]).upper()],
            "checks": tuple(each if isinstance(each, Check) else Check.from_json(each) for each in checks),
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
    every = tuple(checks)
    outcome = worst(check.outcome for check in every if check.kind not in ASIDE)
    return StageResult(
        name=name,
        outcome=outcome,
        checks=every,
        reason=_reason(outcome, every),
        started_at=started_at,
        duration_s=duration_s,
        log=log,
    )


def _reason(outcome: Outcome, checks: Sequence[Check]) -> str:
    if not checks:
        return "no test ran"
    if all(check.kind in ASIDE for check in checks):
        return (
            f"all {len(checks)} {' or '.join({check.kind: None for check in checks})}: {checks[0].headline}"
        )
    if outcome is Outcome.PASSED:
        return ""
    bad = [check for check in checks if check.outcome is outcome and check.kind not in ASIDE]
    name = shortened(bad[0].name.rpartition("::")[2])
    first = ": ".join(filter(None, [name, bad[0].headline]))
    word = "failed" if outcome is Outcome.FAILED else "undecided"
    return f"{len(bad)} of {len(checks)} {word}: {first}"
