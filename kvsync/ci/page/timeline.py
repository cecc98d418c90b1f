"""What happened during a run on one axis of time: stages, faults, violations, requests, pods. Pure.

Moments are seconds since the beginning of the run. Histories use the monotonic clock, ledgers and stages the
wall clock; `Evidence.clock_s` converts between them. Pods of a local cluster are processes, so the ledger
tells when they came and went.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kvsync.ci.page.evidence import Evidence, FaultWindow, PodEvent, RequestPoint
from kvsync.ci.report.report import Report
from kvsync.testing.results.history import Record
from kvsync.testing.results.outcome import StageResult

_PROGRAM = re.compile(r"[\w.-]+/(?P<pod>[\w.-]+)")
"""The name of a local cluster's program in a ledger: `<cluster>/<pod>`."""

_WORDS = {"created": "started", "released": "ended"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something that happened at one moment."""

    at: float
    kind: str
    text: str
    test: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Everything in a run; adding `offset_s` turns moments of its histories into those of the time line.

    `is_compared`: a cache was held against the truth, so that none among the violations is a finding.
    """

    stages: Sequence[tuple[float, StageResult]]
    faults: Sequence[FaultWindow]
    requests: Sequence[RequestPoint]
    violations: Sequence[Mark]
    pods: Sequence[Mark]
    offset_s: float
    is_compared: bool = False

    @classmethod
    def of(cls, report: Report, evidence: Evidence) -> "Timeline | None":
        """Put everything on the axis; None if nothing in the histories has a moment."""
        points = sorted(
            (point for points in evidence.requests.values() for point in points), key=lambda point: point.at
        )
        if evidence.clock_s is None or not (points or evidence.faults):
            return None
        offset_s = evidence.clock_s - report.started_at.timestamp()
        return cls(
            stages=[
                ((stage.started_at - report.started_at).total_seconds(), stage) for stage in report.stages
            ],
            faults=evidence.faults,
            requests=points,
            violations=[*_violations(evidence, offset_s)],
            pods=[
                Mark(at=each.at + offset_s, kind="pod", text=f"{each.pod} {each.event}")
                for each in evidence.pods
            ],
            offset_s=offset_s,
            is_compared=bool(evidence.comparisons),
        )

    @property
    def rows(self) -> list[str]:
        """What has a row below the requests; a project without pods or comparisons has none of those."""
        asked = {"faults": self.faults, "violations": self.is_compared, "pods": self.pods}
        return ["stages", *(name for name, found in asked.items() if found)]

    @property
    def marks(self) -> list[Mark]:
        """Everything except requests in words, in the order in which it happened."""
        stages = [
            Mark(at=at, kind="stage", text=f"{each.name} ran, {each.outcome.name.lower()}")
            for at, each in self.stages
        ]
        return sorted([*stages, *self._faults(), *self.violations, *self.pods], key=lambda mark: mark.at)

    def _faults(self) -> Iterable[Mark]:
        for fault in self.faults:
            yield Mark(
                at=fault.start + self.offset_s, kind="fault", text=f"{fault.label} began", test=fault.test
            )
            if fault.stop is not None:
                yield Mark(
                    at=fault.stop + self.offset_s, kind="fault", text=f"{fault.label} ended", test=fault.test
                )
            if fault.recovered is not None:
                word = "recovered" if fault.recovered else "not recovered"
                yield Mark(
                    at=fault.end + self.offset_s,
                    kind="recovery",
                    text=f"{word} from {fault.label}",
                    test=fault.test,
                )


def local_pods(ledger: Iterable[Record], clock_s: float) -> list[PodEvent]:
    """Return when the programs of local clusters started and ended, according to the lines of a ledger."""
    names: dict[object, str] = {}
    found = []
    for record in ledger:
        name = _PROGRAM.fullmatch(str(record.get("name", "")))
        if name and record.get("kind") == "process":
            names[record.get("id")] = name["pod"]
        event = _WORDS.get(str(record.get("event")))
        if event and record.get("id") in names:
            at = float(str(record["wall"])) - clock_s
            found.append(PodEvent(at=at, pod=names[record.get("id")], event=event))
    return found


def _violations(evidence: Evidence, offset_s: float) -> Iterable[Mark]:
    for each in evidence.comparisons:
        for violation in each.violations:
            yield Mark(at=each.at + offset_s, kind="violation", text=violation, test=each.test)
