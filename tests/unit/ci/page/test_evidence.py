"""Evidence: what the records of a history say about faults, requests and comparisons."""

from typing import Any

from kvsync.ci.page.evidence import (
    Evidence,
    FaultWindow,
    IndexComparison,
    RequestPoint,
    ServedRecord,
    TraceAgreement,
)
from kvsync.testing.results.history import Record


def fault(
    type_: str, at: float, *, pods: tuple[str, ...] = ("a",), proof: str = "", **more: object
) -> Record:
    """Return a record of a partition of pods in test t."""
    value: dict[str, object] = {"kind": "partition", "pods": list(pods), **more}
    return {"f": "fault", "type": type_, "fault": value, "proof": proof, "t_mono": at, "test": "t"}


def recovery(type_: str, at: float, seconds: float, test: str = "t") -> Record:
    """Return a record of a recovery."""
    return {"f": "recovery", "type": type_, "seconds": seconds, "t_mono": at, "test": test}


def test_a_fault_from_start_to_recovery() -> None:
    """Start, stop and recovery of a fault are one window with both proofs."""
    found = Evidence.from_records(
        [
            fault("start", 10.0, proof="5 of 5 refused", depth=2, ports=["http", "events"]),
            fault("stop", 14.0, proof="5 of 5 accepted", depth=2, ports=["http", "events"]),
            recovery("ok", 16.0, 1.5),
        ]
    )

    assert found.faults == [
        FaultWindow(
            test="t",
            kind="partition",
            pods=("a",),
            details="depth 2, ports http, events",
            start=10.0,
            stop=14.0,
            proof="5 of 5 refused",
            stop_proof="5 of 5 accepted",
            recovery_s=1.5,
            recovered=True,
        )
    ]
    assert found.faults[0].label == "partition of a"
    assert found.faults[0].end == 15.5


def test_fields_of_a_fault_have_units() -> None:
    """Times and sizes are written for people, and what a fault leaves out is left out."""
    fields: dict[str, Any] = {
        "delay_s": 0.05,
        "jitter_s": 0.0,
        "ports": [],
        "bytes_per_s": 2000.0,
        "size_bytes": 1 << 28,
    }
    (found,) = Evidence.from_records([fault("start", 1.0, **fields)]).faults

    assert found.details == "delay 50 ms, bytes_per_s 2000.0, size 256 MiB"


def test_a_fault_of_a_service_is_none_of_a_pod() -> None:
    """Kinds of faults are called after pods and containers, which a service of a stage is not."""
    records = [fault("start", 1.0, kind="pod pause"), fault("start", 2.0, kind="container kill")]
    of_pods = Evidence.from_records(records).faults
    of_services = Evidence.from_records([{**each, "service": "a"} for each in records]).faults

    assert [each.label for each in of_pods] == ["pod pause of a", "container kill of a"]
    assert [each.label for each in of_services] == ["pause of a", "kill of a"]


def test_overlapping_faults_are_told_apart() -> None:
    """A stop ends the open fault it names, and only once; one that never stops stays open."""
    found = Evidence.from_records(
        [
            fault("start", 1.0, pods=("a",)),
            fault("start", 2.0, pods=("b",)),
            fault("stop", 3.0, pods=("a",)),
            fault("stop", 3.5, pods=("a",)),
            fault("start", 4.0, pods=("a",)),
            fault("stop", 5.0, pods=("a",)),
            fault("stop", 6.0, pods=("c",)),
        ]
    )

    assert [(each.pods, each.start, each.stop) for each in found.faults] == [
        (("a",), 1.0, 3.0),
        (("b",), 2.0, None),
        (("a",), 4.0, 5.0),
    ]


def test_a_recovery_belongs_to_the_faults_before_it() -> None:
    """Each recovery counts for its own test's faults that have none yet, and a failed one is kept."""
    found = Evidence.from_records(
        [
            fault("start", 1.0),
            fault("stop", 2.0),
            recovery("ok", 2.5, 9.0, test="another"),
            recovery("ok", 3.0, 1.0),
            fault("start", 4.0),
            fault("stop", 5.0),
            recovery("fail", 35.0, 30.0),
        ]
    )

    assert [(each.recovered, each.recovery_s) for each in found.faults] == [(True, 1.0), (False, 30.0)]


def test_a_service_belongs_to_the_faults_before_it() -> None:
    """How requests were served is kept with the faults of its test that have no such record yet."""
    service: Record = {
        "f": "service",
        "type": "ok",
        "requests": 600,
        "availability": 0.995,
        "error_increase": 0.005,
        "p95_s": 0.2,
        "baseline_p95_s": 0.1,
        "p95_excuse": "too few",
        "broken": ["errors increased"],
        "t_mono": 3.0,
        "test": "t",
    }
    found = Evidence.from_records(
        [
            fault("start", 1.0, pods=("a",)),
            fault("start", 1.5, pods=("b",)),
            {**service, "test": "another"},
            service,
            {**service, "type": "fail"},
            fault("start", 4.0),
        ]
    )

    served = ServedRecord(
        ok=True,
        requests=600,
        availability=0.995,
        error_increase=0.005,
        p95_s=0.2,
        baseline_p95_s=0.1,
        p95_excuse="too few",
        broken=("errors increased",),
    )
    assert [each.served for each in found.faults] == [served, served, None]


def test_requests_by_test() -> None:
    """Requests are kept per test; a failed one without a latency is kept too."""
    found = Evidence.from_records(
        [
            {"f": "request", "type": "ok", "t_mono": 1.0, "latency_s": 0.25, "pod": "a", "test": "t"},
            {"f": "request", "type": "fail", "t_mono": 2.0, "latency_s": None, "test": "u"},
            {"f": "publish", "type": "info", "t_mono": 3.0},
        ]
    )

    assert found.requests == {
        "t": [RequestPoint(at=1.0, latency_s=0.25, ok=True)],
        "u": [RequestPoint(at=2.0, latency_s=0.0, ok=False)],
    }


def test_comparisons_and_agreement() -> None:
    """What was compared is kept with its violations, and a replay with what nothing explains."""
    explained = {"evicted": 6}
    found = Evidence.from_records(
        [
            {"f": "oracle", "type": "fail", "violations": ["lost a"], "pods": 3, "blocks": 40, "test": "t"},
            {
                "f": "replay",
                "type": "ok",
                "requests": 100,
                "agreeing": 90,
                "explained": explained,
                "test": "t",
            },
        ]
    )

    assert found.comparisons == [
        IndexComparison(test="t", ok=False, pods=3, blocks=40, violations=("lost a",))
    ]
    assert found.agreements == [TraceAgreement(test="t", requests=100, agreeing=90, explained=explained)]
    assert found.agreements[0].unexplained == 4


def test_incomplete_records_are_no_error() -> None:
    """A report is made of whatever a run left, also of records without their fields."""
    empty: list[Record] = [
        {"f": f, "t_mono": 1.0} for f in ("fault", "recovery", "service", "request", "oracle", "replay")
    ]
    little: Record = {"f": "fault", "type": "start", "t_mono": 2.0, "fault": {"kind": "pod-kill", "pod": "a"}}

    found = Evidence.from_records([*empty, little])

    assert [(each.kind, each.pods) for each in found.faults] == [("pod-kill", ("a",))]
