"""What is said of a load that arrived, or did not."""

from collections.abc import Sequence

import pytest

from kvsync.events import Source
from kvsync.index import PrefixIndex
from kvsync.sequence import Counters, State
from kvsync.sources.status import SourceStatus
from kvsync.testing.benchmarks.arrivals import Reception
from kvsync.testing.benchmarks.flood import EventLoad

LOAD = EventLoad(seed=1, events=3, least=32, most=32, rate_per_s=2.0)
SOURCE = Source("pod-0", "model")


def reception(
    applied: Sequence[float],
    *,
    events: int = 3,
    forgotten: Sequence[str] = (),
    sent: Sequence[float] = (1.0, 1.5, 2.0),
) -> Reception:
    """What a receiver of LOAD would report."""
    index = PrefixIndex()
    for event in LOAD.stored()[:events]:
        index.apply(SOURCE, event)
    status = SourceStatus(
        source=SOURCE,
        state=State.EXACT,
        reason="",
        last=3,
        live=3,
        last_event_age_s=0.0,
        connected=True,
        counters=Counters(),
        errors={},
        batches=3,
        events=3,
    )
    return Reception(
        sent=[sent],
        applied=[applied],
        forgotten=forgotten,
        statuses=[status],
        index=index,
        pauses=[],
        cpu_s=0.0,
    )


def test_times_of_a_load_that_arrived() -> None:
    """Latency of each event, how long it took to offer and to receive all, and what was left to do."""
    received = reception([1.25, 2.25, 2.5])

    assert received.flaws(LOAD) == []
    assert received.latencies == [0.25, 0.75, 0.5]
    assert (received.offered_s, received.duration_s, received.drain_s) == (1.0, 1.5, 0.5)


@pytest.mark.parametrize(
    ("applied", "lag"),
    [
        pytest.param([1.25, 1.75, 2.25], 1, id="keeps up"),
        pytest.param([1.25, 2.25, 2.5], 2, id="one late"),
        pytest.param([3.0, 3.25, 3.5], 3, id="all late"),
    ],
)
def test_lag_is_what_was_sent_and_not_applied(applied: list[float], lag: int) -> None:
    """The peak is taken just before each event is applied."""
    assert reception(applied).peak_lag == lag


@pytest.mark.parametrize(
    ("received", "flaws"),
    [
        pytest.param(
            reception([1.25, 1.75], events=2),
            ["2 events instead of 3", "4 blocks instead of 6"],
            id="lost",
        ),
        pytest.param(reception([1.25, 1.5, 1.75, 2.0]), ["4 events instead of 3"], id="twice"),
        pytest.param(
            reception([1.25, 1.75, 2.0], forgotten=["pod-0: restarted"]),
            ["forgotten: pod-0: restarted"],
            id="forgotten",
        ),
    ],
)
def test_flaws_are_named(received: Reception, flaws: list[str]) -> None:
    """Whatever makes a measurement worthless is said."""
    assert received.flaws(LOAD) == flaws


@pytest.mark.parametrize(
    ("rate_per_s", "due_s"), [pytest.param(2.0, 1.5, id="paced"), pytest.param(0.0, 0.0, id="at once")]
)
def test_events_are_due_by_rate(rate_per_s: float, due_s: float) -> None:
    """An event is due by its number, whatever became of those before it."""
    assert EventLoad(seed=1, events=9, least=16, most=16, rate_per_s=rate_per_s).due_s(3) == due_s
