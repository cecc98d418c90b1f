"""A run judged again, with today's checkers, from what its folder holds; nothing is run.

- Every stored comparison is made again, faults must have their proofs, recoveries and service are held
  against today's limits, and how each test ended is read again from the lines that it wrote.
- Judging again finds what is worse than the report says. It makes one thing better: a test that failed at a
  comparison in which nothing is wrong by today's rules becomes undecided, because it ended there.
- Tests that passed but left neither a line nor a JUnit file prove nothing.
- Of an attempt that was followed by another, only the ending counts.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import cast

from kvsync.ci.report.junit_reader import read_junit
from kvsync.ci.report.report import Report
from kvsync.ci.run_folder import RunFolder
from kvsync.testing.oracle import snapshot
from kvsync.testing.results.attempts import INVARIANT, attempted
from kvsync.testing.results.history import Record, read, read_lines
from kvsync.testing.results.measurement import Measurement, read_measurements
from kvsync.testing.results.outcome import OUTCOMES, Check, CheckKind, Outcome, StageResult, merge
from kvsync.testing.results.verdicts import Unproven
from kvsync.testing.scenarios.recovery import GOAL_S
from kvsync.testing.traffic import steady

NAMES = {
    "oracle": "comparisons",
    "fault": "beginnings and ends of faults",
    "recovery": "recoveries",
    "service": "services during a fault",
}
"""The records that are judged again, by the words for them in the summary."""
SPOILED = frozenset({"quarantined"})
"""Kinds that already stand for a failure."""


@dataclass(frozen=True, slots=True)
class EvidenceFinding:
    """How a check has to be judged by one piece of evidence, and why."""

    kind: CheckKind
    why: str


@dataclass(frozen=True, slots=True)
class _Ending:
    """How a test ended, in which attempt at its stage; `current` if the report has to have it."""

    kind: CheckKind
    attempt: int = 1
    current: bool = True

    @property
    def finding(self) -> EvidenceFinding:
        """What it says of its check."""
        return EvidenceFinding(self.kind, f"by the lines that the tests wrote, it ended as {self.kind}")


NO_ENDING = _Ending("not-run")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedVerdict:
    """A check that is judged differently from what the report says."""

    stage: str
    check: str
    before: CheckKind
    after: CheckKind
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rechecked:
    """Today's report, what has changed in it, and how much was looked at."""

    report: Report
    changes: Sequence[ChangedVerdict]
    looked_at: Mapping[str, int]
    not_kept: int
    missed_goals: Sequence[Measurement]

    def summary(self) -> str:
        """Say in one line what was looked at."""
        looked = ", ".join(f"{count} {NAMES[kind]}" for kind, count in self.looked_at.items() if count)
        not_kept = f"; {self.not_kept} of an older form could not be" if self.not_kept else ""
        return (
            f"judged again: {looked or 'nothing but how tests ended'}{not_kept}; {len(self.changes)} changed"
        )

    def to_json(self) -> dict[str, object]:
        """Return all of it as plain JSON values."""
        return {
            "report": self.report.to_json(),
            "changes": [asdict(change) for change in self.changes],
            "looked_at": dict(self.looked_at),
            "not_kept": self.not_kept,
            "missed_goals": [asdict(goal) for goal in self.missed_goals],
        }


@dataclass(slots=True)
class _Recheck:
    folder: RunFolder
    changes: list[ChangedVerdict] = field(default_factory=list)
    looked_at: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    not_kept: int = 0

    def stage(self, stage: StageResult) -> StageResult:
        endings = _endings(self.folder, stage)
        evidence = _by_test(read([self.folder.path / "history" / f"{stage.name}.jsonl"], only=NAMES))
        checks = [self._check(stage.name, each, endings, evidence) for each in stage.checks]
        missing = endings.keys() - {check.name for check in stage.checks}
        for name in sorted(each for each in missing if endings[each].current):
            check = Check(name=name, kind=endings[name].kind, detail="the report does not have this test")
            self.changes.append(_change(stage.name, check, "not-run", check.detail))
            checks.append(check)
        merged = merge(
            stage.name,
            checks,
            started_at=stage.started_at,
            duration_s=stage.duration_s,
            log=stage.log,
        )
        has_passed = merged.outcome is Outcome.PASSED and any("::" in check.name for check in checks)
        gone = "its evidence is gone" if has_passed and not endings else ""
        for doubt in filter(None, [stage.doubt, gone]):
            merged = merged.doubted(doubt)
        return merged

    def _check(
        self,
        stage: str,
        check: Check,
        endings: Mapping[str, _Ending],
        evidence: Mapping[str, Sequence[Record]],
    ) -> Check:
        if not endings:  # a stage without tests, such as the making of a cluster
            return check
        ending = endings.get(check.name, NO_ENDING)
        records = evidence.get(attempted(check.name, ending.attempt), ())
        found = [finding for record in records for finding in self._judge(record)]
        worst = max([*found, ending.finding], key=lambda each: OUTCOMES[each.kind])
        if OUTCOMES[worst.kind] > check.outcome and check.kind not in SPOILED:
            return self._changed(stage, check, worst)
        if INVARIANT in check.properties and not found:
            compared = [record for record in records if record["f"] == "oracle" and "kept" in record]
            if compared and compared[-1]["type"] == "fail":
                why = "nothing is wrong, by today's rules, in the comparison at which this test ended"
                return self._changed(stage, check, EvidenceFinding("inconclusive", why))
        return check

    def _changed(self, stage: str, check: Check, found: EvidenceFinding) -> Check:
        changed = replace(
            check, kind=found.kind, detail=f"judged again: {found.why}\n\n{check.detail}".strip()
        )
        self.changes.append(_change(stage, changed, check.kind, found.why))
        return changed

    def _judge(self, record: Record) -> Iterator[EvidenceFinding]:
        """Judge one record of a test's history."""
        kind = str(record["f"])
        self.looked_at[kind] += 1
        try:
            match record:
                case {"f": "oracle", "kept": str(kept), "at_least": int(at_least)}:
                    look = snapshot.load(self.folder.path / "history", kept)
                    comparison = look.compared()
                    snapshot.require(look.wrong(comparison), comparison, at_least=at_least)
                case {"f": "fault", "type": "start", "proof": ""}:
                    yield EvidenceFinding("void", f"no effect was measured of {record['fault']}")
                case {"f": "fault", "type": "stop", "proof": ""}:
                    yield EvidenceFinding("inconclusive", f"it was not seen to go away: {record['fault']}")
                case {"f": "recovery", "seconds": int() | float() as seconds} if seconds > GOAL_S:
                    yield EvidenceFinding(
                        "failed", f"recovery took {seconds:.1f} s, the goal is {GOAL_S:g} s"
                    )
                case {"f": "service", "baseline": dict(), "during": dict()}:
                    steady.Disturbance.recorded(record).judge()
                case {"f": "oracle" | "service"}:
                    self.not_kept += 1
        except Unproven as exc:
            yield EvidenceFinding(exc.kind, str(exc))
        except (AssertionError, KeyError, TypeError, ValueError) as exc:
            yield EvidenceFinding(
                "failed", str(exc) if isinstance(exc, AssertionError) else f"broken record: {exc!r}"
            )


def recheck(folder: RunFolder, report: Report) -> Rechecked:
    """Judge a run again; reads its folder and writes nothing."""
    again = _Recheck(folder)
    stages = tuple(map(again.stage, report.stages))
    goals = read_measurements(folder.path / "benchmark.json")
    return Rechecked(
        report=replace(report, stages=stages),
        changes=tuple(again.changes),
        looked_at=again.looked_at,
        not_kept=again.not_kept,
        missed_goals=[each for each in goals if each.reaches_goal is False],
    )


def _change(stage: str, check: Check, before: CheckKind, why: str) -> ChangedVerdict:
    return ChangedVerdict(stage=stage, check=check.name, before=before, after=check.kind, why=why)


def _endings(folder: RunFolder, stage: StageResult) -> dict[str, _Ending]:
    """Return how each test of a stage ended last; from JUnit where there are no lines."""
    endings: dict[str, _Ending] = {}
    attempt = 0
    for record in read_lines(folder.tests(stage.name)):
        match record:
            case {"event": "collected"}:
                attempt += 1
                if not record.get("only"):  # a test that is gone from the whole stage is gone from its report
                    endings = {name: replace(each, current=False) for name, each in endings.items()}
            case {"event": "finished", "nodeid": str(nodeid), "kind": str(kind)} if kind in OUTCOMES:
                endings[nodeid] = _Ending(cast("CheckKind", kind), attempt=max(attempt, 1))
    path = folder.junit(stage.name)
    if endings or not path.exists():
        return endings
    checks = read_junit([path], name=stage.name).checks
    return {check.name: _Ending(check.kind, current=False) for check in checks}


def _by_test(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[str(record.get("test", ""))].append(record)
    return found
