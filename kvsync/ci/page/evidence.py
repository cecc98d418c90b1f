"""What histories say about a run: faults and recoveries, requests, comparisons. Pure.

The records that are understood (all with `test` and `t_mono`):
- fault start and stop: `fault` (an object with `kind` and perhaps `pods`), `proof`, and `service` where that
  is what it befalls, neither a pod nor a container
- recovery ok and fail: `seconds`
- service ok and fail: `requests`, `availability`, `error_increase`, `p95_s`, `baseline_p95_s`, `p95_excuse`,
  `broken` (each limit that was, in words)
- request ok and fail: `latency_s`, `pod`
- oracle ok and fail: `violations`, `pods`, `blocks`
- replay: `requests`, `agreeing`, `explained` (requests by cause of their disagreement)
- pod: `pod`, `event`; without `test`, because a pod does not belong to a test
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Self, cast

from kvsync.ci.page.wording import duration, number
from kvsync.testing.results.history import Record

KINDS = frozenset({"fault", "recovery", "service", "request", "oracle", "replay", "pod"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRecord:
    """How requests were served during a fault, against the run's baseline; `ok` if within all limits."""

    ok: bool
    requests: int
    availability: float
    error_increase: float
    p95_s: float
    baseline_p95_s: float
    p95_excuse: str = ""
    """Why the p95 was not judged; empty if it was."""
    broken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultWindow:
    """One fault from its start to its stop (monotonic seconds); None if the history has no such record."""

    test: str
    kind: str
    pods: tuple[str, ...]
    details: str
    start: float
    stop: float | None = None
    proof: str = ""
    stop_proof: str = ""
    recovery_s: float | None = None
    recovered: bool | None = None
    served: ServedRecord | None = None

    @property
    def label(self) -> str:
        """The fault in a few words, such as `partition of qwen-0, qwen-1`."""
        return f"{self.kind} of {', '.join(self.pods)}" if self.pods else self.kind

    @property
    def end(self) -> float:
        """The last known moment of it: its recovery, or else its stop, or else its start."""
        return (self.stop or self.start) + (self.recovery_s or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPoint:
    """One request: when it ended (monotonic seconds) and how long it took."""

    at: float
    latency_s: float
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexComparison:
    """The index compared with what the pods really hold."""

    test: str
    ok: bool
    pods: int
    blocks: int
    violations: tuple[str, ...]
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PodEvent:
    """Something that happened to a pod, at a moment in monotonic seconds."""

    at: float
    pod: str
    event: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceAgreement:
    """A trace replayed: how many requests met the cache that was predicted, and why the others did not."""

    test: str
    requests: int
    agreeing: int
    explained: Mapping[str, int]

    @property
    def unexplained(self) -> int:
        """Requests that disagree without a known cause."""
        return self.requests - self.agreeing - sum(self.explained.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All of it, in the order in which it happened; requests by test.

    `clock_s`: by how much the wall clock (seconds since 1970) is ahead of the monotonic one, None if unknown.
    """

    faults: Sequence[FaultWindow] = ()
    requests: Mapping[str, Sequence[RequestPoint]] = field(default_factory=dict)
    comparisons: Sequence[IndexComparison] = ()
    agreements: Sequence[TraceAgreement] = ()
    pods: Sequence[PodEvent] = ()
    clock_s: float | None = None

    @classmethod
    def from_records(cls, records: Iterable[Record]) -> Self:
        """Read the records of a run, ordered by time; other kinds are left out."""
        faults: list[FaultWindow] = []
        requests: dict[str, list[RequestPoint]] = defaultdict(list)
        comparisons, agreements, pods, clocks = [], [], [], []
        for record in records:
            if "wall" in record:
                clocks.append(_number(record, "wall") - _number(record, "t_mono"))
            match record["f"]:
                case "fault":
                    _see_fault(faults, record)
                case "recovery":
                    _see_recovery(faults, record)
                case "service":
                    _see_service(faults, record)
                case "request":
                    requests[_test(record)].append(_request(record))
                case "oracle":
                    comparisons.append(_comparison(record))
                case "replay":
                    agreements.append(_agreement(record))
                case "pod":
                    pods.append(_pod_event(record))
        return cls(
            faults=faults,
            requests=dict(requests),
            comparisons=comparisons,
            agreements=agreements,
            pods=pods,
            # A fault's record has the moment it began, which may be well before it was written down.
            clock_s=median(clocks) if clocks else None,
        )

    def faults_of(self, test: str) -> list[FaultWindow]:
        """Return the faults of one test."""
        return [fault for fault in self.faults if fault.test == test]


def _see_fault(faults: list[FaultWindow], record: Record) -> None:
    fault = cast("Mapping[str, object]", record.get("fault", {}))
    seen = FaultWindow(
        test=_test(record),
        kind=_kind(str(fault.get("kind", "fault")), is_service="service" in record),
        pods=_texts(fault.get("pods", fault.get("pod", ()))),
        details=", ".join(
            _detail(name, value)
            for name, value in fault.items()
            if name not in ("kind", "pods", "pod") and not _is_nothing(value)
        ),
        start=_number(record, "t_mono"),
        proof=str(record.get("proof", "")),
    )
    if record.get("type") == "start":
        faults.append(seen)
        return
    for position, known in reversed([*enumerate(faults)]):
        if known.stop is None and _same(known, seen):
            faults[position] = replace(known, stop=seen.start, stop_proof=seen.proof)
            return


def _same(one: FaultWindow, other: FaultWindow) -> bool:
    return (one.test, one.kind, one.pods, one.details) == (other.test, other.kind, other.pods, other.details)


def _see_recovery(faults: list[FaultWindow], record: Record) -> None:
    """A recovery belongs to those faults of its test that do not have one yet."""
    for position, known in enumerate(faults):
        if known.test == _test(record) and known.recovered is None:
            faults[position] = replace(
                known,
                recovery_s=_number(record, "seconds"),
                recovered=record.get("type") == "ok",
            )


def _see_service(faults: list[FaultWindow], record: Record) -> None:
    """Like a recovery, it belongs to those faults of its test that do not have one yet."""
    served = ServedRecord(
        ok=record.get("type") == "ok",
        requests=int(_number(record, "requests")),
        availability=_number(record, "availability"),
        error_increase=_number(record, "error_increase"),
        p95_s=_number(record, "p95_s"),
        baseline_p95_s=_number(record, "baseline_p95_s"),
        p95_excuse=str(record.get("p95_excuse", "")),
        broken=_texts(record.get("broken", ())),
    )
    for position, known in enumerate(faults):
        if known.test == _test(record) and known.served is None:
            faults[position] = replace(known, served=served)


def _request(record: Record) -> RequestPoint:
    return RequestPoint(
        at=_number(record, "t_mono"),
        latency_s=_number(record, "latency_s"),
        ok=record.get("type") == "ok",
    )


def _comparison(record: Record) -> IndexComparison:
    return IndexComparison(
        test=_test(record),
        ok=record.get("type") == "ok",
        pods=int(_number(record, "pods")),
        blocks=int(_number(record, "blocks")),
        violations=_texts(record.get("violations", ())),
        at=_number(record, "t_mono"),
    )


def _pod_event(record: Record) -> PodEvent:
    return PodEvent(
        at=_number(record, "t_mono"),
        pod=str(record.get("pod", "")),
        event=str(record.get("event", "")),
    )


def _agreement(record: Record) -> TraceAgreement:
    explained = cast("Mapping[str, int]", record.get("explained", {}))
    return TraceAgreement(
        test=_test(record),
        requests=int(_number(record, "requests")),
        agreeing=int(_number(record, "agreeing")),
        explained=dict(explained),
    )


def _test(record: Record) -> str:
    return str(record.get("test", ""))


def _number(record: Record, name: str) -> float:
    value = record.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else (_plain(value),)


def _kind(name: str, *, is_service: bool) -> str:
    return name.removeprefix("pod ").removeprefix("container ") if is_service else name


def _detail(name: str, value: object) -> str:
    """Write a field of a fault, with its unit where its name ends with it."""
    if isinstance(value, int | float):
        if name.endswith("_s") and not name.endswith("_per_s"):
            return f"{name.removesuffix('_s')} {duration(value)}"
        if name.endswith("_bytes"):
            return f"{name.removesuffix('_bytes')} {number(value / 2**20)} MiB"
    return f"{name} {_plain(value)}"


def _is_nothing(value: object) -> bool:
    """Say whether a field of a fault leaves something out: no jitter, no ports."""
    return value == [] or (isinstance(value, float) and value == 0)


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return value if isinstance(value, str) else json.dumps(value)
