"""What a load shows: each threshold a check with what was measured, never more than it proves."""

from collections.abc import Sequence

import pytest

from kvsync.testing.load.http.judgement import Offered, PhaseEnd, ends_of, judged
from kvsync.testing.load.http.stream import LATE
from kvsync.testing.load.http.tally import Tally
from kvsync.testing.load.http.thresholds import parse
from kvsync.testing.load.plan import Phase
from kvsync.testing.results.outcome import CheckKind

HOLD = Phase(name="hold", seconds=10, rate_per_s=10)


def climb(*rates: float) -> list[Phase]:
    """Return the steps of a climb."""
    return [Phase(name="climb", seconds=10, rate_per_s=rate, climbs=True) for rate in rates]


def tally(
    count: int = 100,
    *,
    latency_s: float = 0.01,
    failed: int = 0,
    late: int = 0,
    in_time: int | None = None,
    crowded: int = 0,
) -> Tally:
    """Return requests; of those that failed, all left in time if nothing else is said."""
    found = Tally(
        failed=failed, late=late, failed_in_time=failed if in_time is None else in_time, crowded=crowded
    )
    found.errors.update({"500 it broke": failed} if failed else {})
    for _ in range(count - failed):
        found.served.add(latency_s)
    return found


def verdict(offered: Offered, threshold: str) -> tuple[CheckKind, str]:
    """Return how one threshold is judged."""
    check = judged(offered, [parse(threshold)])[0]
    return check.kind, check.detail


def one(found: Tally, *, intended: int | None = None, busy: float = 0.1, why: str = "") -> Offered:
    """Return a load of one phase and one kind of request."""
    end = PhaseEnd(intended=found.count if intended is None else intended, busy=busy)
    tallies = {(0, "read"): found} if found.count else {}
    return Offered(phases=[HOLD], tallies=tallies, ends={0: end}, why=why)


@pytest.mark.parametrize(
    ("found", "threshold", "kind", "said"),
    [
        (tally(), "p95 < 20 ms", "passed", "p95 was 10.0 ms of 100 requests"),
        (tally(), "p95 < 5 ms", "failed", "p95 was 10.0 ms of 100 requests"),
        (
            tally(failed=6),
            "errors < 5 %",
            "failed",
            "errors were 6.00 % of 100 requests, 6 failed (6 x 500 it",
        ),
        (tally(failed=6), "p95 < 20 ms", "failed", "p95 was never (too many failed) of 100 requests"),
        (tally(failed=4), "p95 < 20 ms", "passed", "p95 was 10.0 ms of 100 requests, 4 failed"),
        (tally(), "rate > 9", "passed", "rate was 10.0/s of 100 requests"),
        (tally(failed=50), "rate > 9", "failed", "rate was 5.0/s of 100 requests, 50 failed"),
        (tally(0), "p95 < 20 ms", "void", "no request was answered, so there is nothing to measure"),
        (tally(), "p95 of write < 1 s", "void", "no request of write was answered"),
        (tally(19), "p95 < 20 ms", "inconclusive", "at least 20 are needed to say anything"),
        (tally(3, failed=3), "errors < 5 %", "failed", "errors were 100.00 % of 3 requests"),
        (tally(late=5), "p95 < 20 ms", "passed", "p95 was 10.0 ms"),
        (tally(late=6), "p95 < 20 ms", "inconclusive", "of 100 requests 6 left over 0.25 s late"),
        (tally(late=6), "p95 < 5 ms", "inconclusive", "the load was not offered"),
        (tally(late=50, crowded=40), "p95 < 5 ms", "failed", "40 had to wait for requests without an answer"),
        (tally(late=50, crowded=40), "p95 < 20 ms", "inconclusive", "the load was not offered"),
        (tally(failed=20, late=50, in_time=0), "errors < 5 %", "inconclusive", "the load was not offered"),
        (tally(failed=20, late=50, in_time=20), "errors < 5 %", "failed", "errors were 20.00 %"),
    ],
)
def test_a_threshold(found: Tally, threshold: str, kind: CheckKind, said: str) -> None:
    """Passed only by enough requests that left in time; failed by what the service did."""
    judged_kind, detail = verdict(one(found), threshold)

    assert judged_kind == kind
    assert said in detail


def test_requests_that_were_never_sent_prove_nothing() -> None:
    """Nor is it silent that the sender has reached its limit."""
    kind, detail = verdict(one(tally(), intended=120, busy=0.97), "p95 < 20 ms")

    assert kind == "inconclusive"
    assert "and 20 were lost; the sender is at its limit: it took 97 % of a core" in detail


def test_an_interruption_keeps_what_was_measured_and_decides_nothing() -> None:
    """Not even what was broken until then."""
    why = "the run was interrupted"

    assert verdict(one(tally(), why=why), "p95 < 5 ms") == (
        "inconclusive",
        "the run was interrupted; until then p95 was 10.0 ms of 100 requests",
    )
    assert verdict(one(tally(0), why=why), "p95 < 5 ms")[0] == "not-run"
    assert verdict(one(tally(), why=why), "rate > 5")[1].endswith("until then 100 requests were answered")


def climbed(
    *broken: Sequence[str], thresholds: Sequence[str] = ("p95 < 20 ms",)
) -> list[tuple[CheckKind, str]]:
    """Return the checks of a climb with a step for each of what broke; latencies are 10 ms."""
    rates = [100.0 * (1 + number) for number in range(4)]
    offered = Offered(
        phases=[HOLD, *climb(*rates)],
        tallies={(number, "read"): tally(latency_s=0.01) for number in range(len(broken) + 1)},
        ends={
            0: PhaseEnd(intended=100),
            **{number: PhaseEnd(intended=100, broken=words) for number, words in enumerate(broken, start=1)},
        },
    )
    return [(each.kind, each.detail) for each in judged(offered, [parse(each) for each in thresholds])]


def test_a_climb_says_where_it_broke() -> None:
    """It passes by having found that: at the first step nothing was held."""
    assert climbed((), (), ("p95 < 20 ms: 61 ms",))[-1] == (
        "passed",
        "held 200/s, broke at 300/s: p95 < 20 ms: 61 ms",
    )
    assert climbed(("p95 < 20 ms: 61 ms",))[-1] == ("failed", "broke at 100/s: p95 < 20 ms: 61 ms")
    assert climbed((), (), (), ())[-1] == ("passed", "held 400/s, the highest rate that was tried")


def test_a_climb_that_the_sender_ended_says_so() -> None:
    """Where the service breaks is then not known."""
    kind, detail = climbed((), (f"{LATE}: 60 of 100 requests",))[-1]

    assert kind == "inconclusive"
    assert detail.startswith(
        "held 100/s, broke at 200/s: left late: 60 of 100 requests; the sender could not"
    )


def test_a_rate_in_a_climb_is_the_highest_that_held() -> None:
    """Other thresholds leave the climb out, or have the steps that held."""
    high, low, all_, inside, _ = climbed(
        (),
        (),
        ("p95 < 20 ms: 61 ms",),
        thresholds=["rate in climb > 150", "rate in climb > 250", "rate < 11", "p95 in climb < 20 ms"],
    )

    assert high == ("passed", "rate was 200.0/s of 200 requests")
    assert low[0] == "failed"
    assert all_ == ("passed", "rate was 10.0/s of 100 requests")
    assert inside == ("passed", "p95 was 10.0 ms of 200 requests")


def test_a_climb_alone_is_all_there_is() -> None:
    """Thresholds without a phase are about its steps that held."""
    offered = Offered(
        phases=climb(10, 20),
        tallies={(0, "read"): tally(), (1, "read"): tally(latency_s=1)},
        ends={0: PhaseEnd(intended=100), 1: PhaseEnd(intended=100, broken=["p95 < 20 ms: 1.00 s"])},
    )

    assert verdict(offered, "p95 < 20 ms") == ("passed", "p95 was 10.0 ms of 100 requests")


def test_a_climb_that_nothing_could_break_is_void() -> None:
    """A threshold over requests that it never sent is none."""
    assert climbed((), (), (), (), thresholds=["p95 of write < 1 s"])[-1][0] == "void"


def test_what_a_sender_says_of_its_phases() -> None:
    """Only those that it came to the end of."""
    records: list[dict[str, object]] = [
        {"f": "phase", "type": "start", "phase": 0},
        {"f": "phase", "type": "stop", "phase": 0, "intended": 7, "busy": 0.5, "broken": ["x"]},
        {"f": "phase", "type": "start", "phase": 1},
        {"f": "request", "type": "ok", "phase": 1},
    ]

    assert ends_of(records) == {0: PhaseEnd(intended=7, busy=0.5, broken=("x",))}
