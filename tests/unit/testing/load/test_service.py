"""How a load is judged: what fails, what decides nothing, and what is void."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from kvsync.testing.benchmarks.gauge import Gauge
from kvsync.testing.load.plan import Phase
from kvsync.testing.load.service import Served, failures, judge, served, slower
from kvsync.testing.results.measurement import Measurements, read_measurements
from kvsync.testing.results.verdicts import Inconclusive, Void
from kvsync.testing.traffic.service import Sample

BASE = Phase(name="base", seconds=10, rate_per_s=10)
SPIKE = Phase(name="spike", seconds=1, rate_per_s=100)


def sample(
    due: float = 0.0, *, latency_s: float = 0.02, late_s: float = 0.0, ok: bool = True, f: str = "request"
) -> Sample:
    """Return a request of which only what matters is chosen."""
    return Sample(f=f, due=due, late_s=late_s, latency_s=latency_s, ok=ok, error="" if ok else "503 no pod")


def phase(
    samples: Sequence[Sample],
    *,
    of: Phase = BASE,
    lost: int = 0,
    control_s: float = 0.01,
) -> Served:
    """Return how a phase was served."""
    control = [sample(latency_s=control_s, f="control")] * 20
    return Served(phase=of, intended=len(samples) + lost, samples=samples, control=control)


def mixed(good: int, bad: int) -> list[Sample]:
    """Return requests, of which `good` succeeded and `bad` failed."""
    return [sample()] * good + [sample(ok=False)] * bad


GOOD = phase(mixed(100, 0))
BROKEN = mixed(97, 3)


def test_requests_belong_to_the_phase_in_which_they_were_due() -> None:
    """Whenever they were answered; what was due and has no answer is lost."""
    late = sample(9.5, latency_s=5.0)
    base, spike = served(
        [BASE, SPIKE],
        due=[1.0, 9.5, 10.0, 10.5],
        samples=[sample(1.0), late, sample(10.0)],
        control=[sample(10.5, f="control")],
    )

    assert (base.intended, base.samples, base.lost, list(base.control)) == (2, [sample(1.0), late], 0, [])
    assert (spike.intended, spike.samples, spike.lost, len(spike.control)) == (2, [sample(10.0)], 1, 1)


def test_what_is_recorded(tmp_path: Path) -> None:
    """Rate, availability and three quantiles, each with its goal."""
    samples = [sample(latency_s=number / 1000) for number in range(1, 101)]
    gauge = Gauge(Measurements(tmp_path / "m.json"), "load", {})

    phase([*samples[:-1], sample(latency_s=0.3, late_s=0.26, ok=False)]).record(gauge)

    found = {
        each.metric: (each.value, each.goal, each.samples) for each in read_measurements(tmp_path / "m.json")
    }
    assert found == {
        "base: sent on time": (9.9, 9.5, 100),
        "base: availability": (0.99, 0.99, 100),
        "base: p50": (50, 50, 100),
        "base: p95": (95, 100, 100),
        "base: p99": (99, 200, 100),
    }


def test_a_good_load_passes() -> None:
    """Also when the machine was busy: then it was harder."""
    judge([GOOD, phase(mixed(99, 1), control_s=9.0)], failures([GOOD, phase(mixed(99, 1))]))


def test_too_many_failures_fail() -> None:
    """The message has their number and the first error."""
    bad = phase(BROKEN)

    with pytest.raises(
        AssertionError, match=r"^3 of 200 requests failed, more than 1 % \(base 3: 503 no pod\)$"
    ):
        judge([GOOD, bad], failures([GOOD, bad]))


def test_a_spike_that_keeps_the_machine_busy_is_no_excuse() -> None:
    """The control of the phases with the lowest rate tells whether others kept it busy."""
    spike = phase(BROKEN, of=SPIKE, control_s=3.0)

    with pytest.raises(AssertionError, match=r"^3 of 200 .*spike 3"):
        judge([GOOD, spike], failures([GOOD, spike]))


@pytest.mark.parametrize("control_s", [0.16, float("nan")], ids=["busy", "unknown"])
def test_failures_on_a_busy_machine_decide_nothing(control_s: float) -> None:
    """Requests that had nothing to do with the gateway took long, too, or it is not known."""
    bad = phase(BROKEN, control_s=control_s)

    with pytest.raises(Inconclusive, match=r"the machine was busy, the control took .* ms \(p95\); 3 of 100"):
        judge([bad], failures([bad]))


@pytest.mark.parametrize(
    ("doubtful", "words"),
    [
        pytest.param(
            phase([sample(late_s=0.3)] * 11 + mixed(89, 0)), "11 left late and 0 were lost", id="late"
        ),
        pytest.param(phase(mixed(99, 0), lost=1), "0 left late and 1 were lost", id="lost"),
    ],
)
def test_a_load_that_was_not_offered_decides_nothing(doubtful: Served, words: str) -> None:
    """However well the rest of it was served."""
    with pytest.raises(Inconclusive, match=words):
        judge([GOOD, doubtful], failures([GOOD, doubtful]))


def test_few_requests_say_nothing() -> None:
    """A share of nineteen requests is chance."""
    with pytest.raises(Inconclusive, match=r"^19 requests say nothing$"):
        judge([phase(mixed(19, 0))], [])


def test_a_single_failure_of_a_short_phase_is_no_share() -> None:
    """It is one of all requests of the load."""
    short = phase(mixed(19, 1))

    judge([GOOD, short], failures([GOOD, short]))


def test_a_control_that_fails_is_not_quick() -> None:
    """A pod that refuses connections does so at once."""
    bad = phase(BROKEN)
    dead = Served(phase=BASE, intended=100, samples=BROKEN, control=[sample(ok=False, latency_s=0.001)] * 20)

    with pytest.raises(AssertionError):
        judge([bad], failures([bad]))
    with pytest.raises(Inconclusive, match="the control took inf ms"):
        judge([dead], failures([dead]))


def test_a_few_late_requests_do_no_harm() -> None:
    """Their wait is in their latencies."""
    judge([phase([sample(late_s=0.3, latency_s=0.32)] * 5 + mixed(95, 0))], [])


def test_a_failure_is_one_although_the_load_was_not_offered() -> None:
    """A gateway that does not answer holds up the sender, too."""
    bad = phase(BROKEN, lost=5)

    with pytest.raises(AssertionError, match=r"^3 of 100 requests failed.*5 were lost"):
        judge([bad], failures([bad]))


def test_a_phase_without_requests_is_void() -> None:
    """A limit that nothing was held against is not kept."""
    empty = phase([], lost=7, of=SPIKE)

    with pytest.raises(Void, match=r"^spike: none of 7 requests was sent$"):
        judge([GOOD, empty], failures([GOOD, empty]))


@pytest.mark.parametrize(
    ("before_s", "after_s", "is_slower"),
    [
        pytest.param(0.02, 0.5, False, id="still quick"),
        pytest.param(0.02, 0.51, True, id="slow"),
        pytest.param(0.4, 0.8, False, id="twice as slow"),
        pytest.param(0.4, 0.81, True, id="more than twice as slow"),
    ],
)
def test_requests_must_not_stay_slow(before_s: float, after_s: float, is_slower: bool) -> None:
    """A p95 is compared with that of the same run, and below half a second with nothing."""
    before, after = (phase([sample(latency_s=each)] * 60) for each in (before_s, after_s))

    assert bool(slower(before, after)) is is_slower


@pytest.mark.parametrize(("count", "words"), [(180, []), (200, ["base: p95 stayed at 900 ms, above 500 ms"])])
def test_a_p95_is_judged_of_enough_requests(count: int, words: list[str]) -> None:
    """A tenth of the requests is slow: of fewer than two hundred only the median counts."""
    slow = [sample(latency_s=0.9)] * (count // 10) + [sample()] * (count - count // 10)

    assert slower(phase([sample()] * count), phase(slow)) == words


def test_few_requests_cannot_be_called_as_quick() -> None:
    """A median of 39 requests is chance."""
    with pytest.raises(Inconclusive, match="39 requests are too few to compare, 40 are needed"):
        slower(GOOD, phase([sample()] * 39))


@pytest.mark.parametrize(
    ("latency_s", "late_s", "reaches", "held_up"),
    [
        pytest.param(0.1, 0.0, True, False, id="quick"),
        pytest.param(0.2, 0.0, False, True, id="held up by the gateway"),
        pytest.param(0.35, 0.3, False, False, id="held up by who sends"),
    ],
)
def test_who_missed_a_goal(latency_s: float, late_s: float, reaches: bool, held_up: bool) -> None:
    """Latency counts from when a request was due; what passed before it was sent is not the gateway's."""
    found = phase([sample(latency_s=latency_s, late_s=late_s)] * 50)

    assert (found.reaches_goals, found.is_held_up) == (reaches, held_up)
