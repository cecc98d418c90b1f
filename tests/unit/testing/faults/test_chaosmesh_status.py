"""What the records of an experiment mean, where the obvious reading is wrong."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from kvsync.testing.clusters.kubernetes.manifests import Manifest
from kvsync.testing.faults.chaosmesh.status import ExperimentStatus

Step = tuple[str, str, int]
"""The type of an event, its operation, and the second in which it happened."""


def record(phase: str, *events: Step, pod: str = "a", **counts: int) -> Manifest:
    """Write a record as the controllers do."""
    return {
        "id": f"test/{pod}",
        "selectorKey": ".",
        "phase": phase,
        "injectedCount": counts.get("injected", 0),
        "recoveredCount": counts.get("recovered", 0),
        "events": [
            {
                "type": type_,
                "operation": operation,
                "timestamp": f"2026-01-01T00:00:{at:02}Z",
                "message": "no netem",
            }
            for type_, operation, at in events
        ],
    }


def status(*records: Manifest, **conditions: str) -> ExperimentStatus:
    """Read a resource with these records."""
    return ExperimentStatus.parse(
        {
            "status": {
                "conditions": [{"type": type_, "status": state} for type_, state in conditions.items()],
                "experiment": {"containerRecords": list(records)},
            }
        }
    )


def at(second: int) -> datetime:
    """Return the time of a second of the records above."""
    return datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)


APPLIED: Step = ("Succeeded", "Apply", 10)
RECOVERED: Step = ("Succeeded", "Recover", 40)
NOW = record("Injected", APPLIED, injected=1)
LATER = record("Injected", ("Succeeded", "Apply", 15), injected=1, pod="b")
GONE = record("Not Injected", APPLIED, RECOVERED, injected=1, recovered=1)
GONE_LATER = record("Not Injected", APPLIED, ("Succeeded", "Recover", 42), injected=1, recovered=1, pod="b")
FAILED = record("Not Injected", ("Failed", "Apply", 11), pod="c")


@pytest.mark.parametrize(
    ("records", "was_injected", "is_injected", "was_recovered"),
    [
        pytest.param([], False, False, False, id="no records"),
        pytest.param([NOW, LATER], True, True, False, id="injected"),
        pytest.param([NOW, FAILED], False, False, False, id="one of them failed"),
        pytest.param([record("Injected", APPLIED)], False, False, False, id="event without a count"),
        pytest.param([record("Injected", injected=1)], False, False, False, id="count without an event"),
        pytest.param(
            [record("Injected", ("Failed", "Apply", 10), injected=1)],
            False,
            False,
            False,
            id="count without a successful event",
        ),
        pytest.param([NOW, GONE], True, False, False, id="one of them recovered"),
        pytest.param(
            [record("Not Injected", APPLIED, RECOVERED, injected=1)],
            True,
            False,
            False,
            id="recovery without a count",
        ),
        pytest.param(
            [record("Not Injected", APPLIED, ("Failed", "Recover", 40), injected=1, recovered=1)],
            True,
            False,
            False,
            id="recovery without a successful event",
        ),
        pytest.param([GONE, GONE_LATER], True, False, True, id="recovered"),
        pytest.param(
            [record("Injected/Wait", APPLIED, injected=1)], True, False, False, id="being recovered"
        ),
        pytest.param([FAILED], False, False, False, id="never injected is not recovered"),
        pytest.param(
            [record("Injected", APPLIED, RECOVERED, ("Succeeded", "Apply", 50), injected=2, recovered=1)],
            True,
            True,
            False,
            id="injected again",
        ),
    ],
)
def test_how_far_it_came(
    records: Sequence[Manifest], was_injected: bool, is_injected: bool, was_recovered: bool
) -> None:
    """Counts and successful events of every record decide, not the conditions, which are all true here.

    It acted for some time, which can be said, once it is recovered.
    """
    seen = status(*records, Selected="True", AllInjected="True", AllRecovered="True")

    assert (seen.was_injected, seen.is_injected, seen.was_recovered, seen.acted_s is not None) == (
        was_injected,
        is_injected,
        was_recovered,
        was_recovered,
    )


def test_it_acted_while_all_victims_were_injected() -> None:
    """The effective time runs from the last injection to the first recovery."""
    seen = status(
        record(
            "Not Injected", ("Succeeded", "Apply", 10), ("Succeeded", "Recover", 44), injected=1, recovered=1
        ),
        record(
            "Not Injected", ("Succeeded", "Apply", 15), ("Succeeded", "Recover", 40), injected=1, recovered=1
        ),
    )

    assert (seen.injected_at, seen.recovered_at, seen.acted_s) == (at(15), at(40), 25)
    assert seen.describe() == "acted from 2026-01-01 00:00:15+00:00 to 2026-01-01 00:00:40+00:00, 25 s"


def test_what_was_injected_again_acted_since_then() -> None:
    """Of several injections and recoveries of one victim the last ones count."""
    again: tuple[Step, ...] = (("Succeeded", "Apply", 50), ("Succeeded", "Recover", 57))
    seen = status(record("Not Injected", APPLIED, RECOVERED, *again, injected=2, recovered=2))

    assert (seen.injected_at, seen.recovered_at, seen.acted_s) == (at(50), at(57), 7)


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        pytest.param(status(), "is not injected", id="nothing said"),
        pytest.param(status(Selected="False"), "selected no pod", id="nothing selected"),
        pytest.param(status(FAILED, Selected="True"), "test/c: apply: no netem", id="failed"),
        pytest.param(status(NOW), "was injected at 2026-01-01 00:00:10+00:00", id="injected"),
        pytest.param(
            status(record("Injected", APPLIED, ("Failed", "Recover", 40), injected=1)),
            "was injected at 2026-01-01 00:00:10+00:00; test/a: recover: no netem",
            id="not recovered",
        ),
    ],
)
def test_description(seen: ExperimentStatus, text: str) -> None:
    """The description says how far it came, and what went wrong last."""
    assert seen.describe() == text


def test_a_resource_without_a_status() -> None:
    """What no controller has seen is neither selected nor not selected."""
    seen = ExperimentStatus.parse({"spec": {}})

    assert (seen.selected, seen.records, seen.acted_s) == (None, [], None)


@pytest.mark.parametrize(
    ("records", "pod", "concerned"),
    [
        pytest.param([NOW], "a", True, id="injected"),
        pytest.param([record("Not Injected/Wait")], "a", True, id="being injected"),
        pytest.param([GONE], "a", False, id="recovered"),
        pytest.param([NOW], "b", False, id="another pod"),
        pytest.param([{**NOW, "id": "test/a/engine"}], "a", True, id="a container of it"),
        pytest.param([{**NOW, "id": "other/a"}], "a", False, id="another namespace"),
    ],
)
def test_whom_it_concerns(records: Sequence[Manifest], pod: str, concerned: bool) -> None:
    """An experiment concerns a pod while something is done to it or undone."""
    assert status(*records).concerns("test", pod) is concerned
