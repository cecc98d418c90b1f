"""What a fault may take from the service, and what is too little to say anything."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from kvsync.testing.faults.fault import (
    Bandwidth,
    Corruption,
    CpuStress,
    DiskLatency,
    Fault,
    HttpDelay,
    Latency,
    MemoryStress,
    MessageLoss,
    PacketLoss,
    PodPause,
    name_of,
)
from kvsync.testing.results.history import History, read
from kvsync.testing.results.verdicts import Inconclusive
from kvsync.testing.traffic.service import Sample, Service
from kvsync.testing.traffic.steady import Disturbance, observed, require_steady

LOSS = MessageLoss(pod="p", fraction=0.5)
SLOW = Latency(pod="p", delay_s=0.1)
SLOWING = (
    SLOW,
    HttpDelay(pod="p", delay_s=0.1),
    PacketLoss(pod="p", fraction=0.1),
    Corruption(pod="p", fraction=0.1),
    Bandwidth(pod="p", bytes_per_s=1e6),
    CpuStress(pod="p"),
    MemoryStress(pod="p"),
    DiskLatency(pod="p", delay_s=0.1),
)


def sample(number: int, latency_s: float = 0.1, *, ok: bool = True, late_s: float = 0.0) -> Sample:
    """Return a request; ten of them are due each second."""
    return Sample(f="request", due=100 + number / 10, late_s=late_s, latency_s=latency_s, ok=ok)


def service(
    *,
    requests: int = 1000,
    availability: float = 1.0,
    rate_per_s: float = 20.0,
    p95_s: float = 0.3,
    control_p95_s: float = 0.1,
) -> Service:
    """Return a service that differs from the baseline in what is given."""
    return Service(
        requests=requests,
        availability=availability,
        rate_per_s=rate_per_s,
        p95_s=p95_s,
        slowest_s=9.0,
        control_p95_s=control_p95_s,
    )


def test_requests_are_summed_up() -> None:
    """A share, a rate of successes until the last answer, a p95 by nearest rank, and the slowest."""
    samples = [sample(number, latency_s=number / 100, ok=number != 50) for number in range(101)]

    assert observed(samples, [sample(0, 0.7), sample(1, 0.2), sample(2, 0.5)]) == Service(
        requests=101,
        availability=100 / 101,
        rate_per_s=100 / 11,
        p95_s=0.95,
        slowest_s=1.0,
        control_p95_s=0.7,
    )


def test_few_requests_say_nothing() -> None:
    """With 19 requests no share is known well enough; with 20 there is one."""
    with pytest.raises(Inconclusive, match="19 requests say nothing; at least 20 are needed"):
        observed([sample(number) for number in range(19)], [])

    assert observed([sample(number) for number in range(20)], []).requests == 20


@pytest.mark.parametrize(
    ("late", "excuse"),
    [(10, ""), (11, "the load was not offered: 11 of 200 requests left late")],
    ids=["a few", "too many"],
)
def test_requests_that_left_late_tell_no_p95(late: int, excuse: str) -> None:
    """One in twenty may, before and during the fault; that the others succeeded is known all the same."""
    control = [sample(0, 0.1)]
    punctual = observed([sample(number) for number in range(200)], control)
    some_late = observed(
        [sample(number, late_s=0.3 if number < late else 0.0) for number in range(200)], control
    )

    assert Disturbance(fault=LOSS, baseline=some_late, during=punctual).p95_excuse == excuse
    assert Disturbance(fault=LOSS, baseline=punctual, during=some_late).p95_excuse == excuse


def test_a_control_that_does_not_answer_is_not_quick() -> None:
    """Without a request nothing is known of it, and a failure takes longer than any limit."""
    samples = [sample(number) for number in range(20)]

    assert math.isnan(observed(samples, []).control_p95_s)
    assert observed(samples, [sample(0, 0.001, ok=False)]).control_p95_s == math.inf


def test_an_unsteady_baseline_decides_nothing() -> None:
    """When more than one request in a hundred fails without a fault, nothing can be said of the fault."""
    require_steady(service(availability=0.99))
    with pytest.raises(Inconclusive, match=r"no steady state: without a fault availability was 98\.90%"):
        require_steady(service(availability=0.989))


@pytest.mark.parametrize(
    ("fault", "during", "excesses"),
    [
        pytest.param(LOSS, service(), [], id="nothing changed"),
        pytest.param(LOSS, service(availability=0.9901), [], id="almost one in a hundred fails"),
        pytest.param(
            LOSS,
            service(availability=0.99),
            ["errors increased by 1.00%, not by less than 1 %"],
            id="one in a hundred fails",
        ),
        pytest.param(
            LOSS,
            service(availability=0.98),
            [
                "availability was 98.00%, below 99 %",
                "errors increased by 2.00%, not by less than 1 %",
            ],
            id="two in a hundred fail",
        ),
        pytest.param(LOSS, service(rate_per_s=2.0), [], id="a tenth of the rate"),
        pytest.param(
            LOSS,
            service(rate_per_s=1.9),
            ["the rate fell to 9.5% of the baseline, below 10 %"],
            id="less than a tenth of the rate",
        ),
        pytest.param(LOSS, service(p95_s=0.6), [], id="twice as slow"),
        pytest.param(
            LOSS, service(p95_s=0.61), ["p95 was 610 ms, above 600 ms"], id="more than twice as slow"
        ),
        pytest.param(LOSS, service(p95_s=0.61, requests=199), [], id="too few to call it slow"),
        pytest.param(LOSS, service(p95_s=9.0, control_p95_s=0.21), [], id="too busy to call it slow"),
        pytest.param(SLOW, service(p95_s=9.0), [], id="slow by nature"),
    ],
)
def test_what_a_fault_may_take(fault: Fault, during: Service, excesses: list[str]) -> None:
    """Every limit that is broken is named, and no other."""
    assert Disturbance(fault=fault, baseline=service(), during=during).excesses() == excesses


def test_the_baseline_is_no_excuse_for_availability() -> None:
    """Where some requests failed before, too few may be answered although not many more failed."""
    before, during = service(availability=0.995), service(availability=0.988)

    assert Disturbance(fault=LOSS, baseline=before, during=during).excesses() == [
        "availability was 98.80%, below 99 %"
    ]


def test_how_many_times_slower_it_became() -> None:
    """The ratio is above one when requests took longer during the fault."""
    disturbance = Disturbance(fault=LOSS, baseline=service(p95_s=0.25), during=service(p95_s=0.5))

    assert disturbance.p95_ratio == 2.0


@pytest.mark.parametrize(
    ("control_p95_s", "is_judged"),
    [(0.15, True), (0.16, False), (float("nan"), False)],
    ids=["quiet", "busy", "not known"],
)
def test_a_machine_that_was_busy_before_excuses_p95(control_p95_s: float, is_judged: bool) -> None:
    """Nothing became slower, and yet it was too busy all the time for p95 to mean anything."""
    baseline = service(control_p95_s=control_p95_s)

    assert (Disturbance(fault=LOSS, baseline=baseline, during=service()).p95_excuse == "") is is_judged


def test_a_broken_limit_fails() -> None:
    """All that is wrong is in the message, also what others found; nothing wrong is no failure."""
    good = Disturbance(fault=LOSS, baseline=service(), during=service(control_p95_s=1.0))
    bad = Disturbance(fault=LOSS, baseline=service(), during=service(rate_per_s=1.0, control_p95_s=1.0))

    good.judge()
    with pytest.raises(AssertionError, match=r"^recovery took 31 s$"):
        good.judge("recovery took 31 s")
    with pytest.raises(AssertionError, match=r"^the rate fell to 5.0% .*; recovery took 31 s$"):
        bad.judge("recovery took 31 s")


def test_on_a_machine_that_is_too_busy_a_broken_limit_decides_nothing() -> None:
    """Requests that have nothing to do with the fault took longer than a gateway waits for a pod."""
    good = Disturbance(fault=LOSS, baseline=service(), during=service(control_p95_s=1.1))
    bad = Disturbance(fault=LOSS, baseline=service(), during=service(rate_per_s=1.0, control_p95_s=1.1))

    good.judge()
    with pytest.raises(Inconclusive, match=r"too busy, the control took 1\.1 s \(p95\): the rate fell"):
        bad.judge()


def test_a_broken_limit_of_requests_that_left_late_decides_nothing() -> None:
    """On such a machine the gateway had no time to serve them, either."""
    bad = replace(service(rate_per_s=1.0), late=51)

    with pytest.raises(Inconclusive, match="not offered: 51 of 1000 requests left late: the rate fell"):
        Disturbance(fault=LOSS, baseline=service(), during=bad).judge()


def test_a_quick_service_may_become_slower_than_twice() -> None:
    """Below half a second no request waited for a time limit, and a busy machine explains the rest."""
    quick = service(p95_s=0.02)

    assert Disturbance(fault=LOSS, baseline=quick, during=service(p95_s=0.5)).excesses() == []
    assert Disturbance(fault=LOSS, baseline=quick, during=service(p95_s=0.501)).excesses() == [
        "p95 was 501 ms, above 500 ms"
    ]


@pytest.mark.parametrize(
    ("fault", "during", "excuse"),
    [
        pytest.param(LOSS, service(requests=200), "", id="judged"),
        pytest.param(
            LOSS, service(requests=199), "199 requests are too few, 200 are needed", id="too few requests"
        ),
        pytest.param(LOSS, service(control_p95_s=0.15), "", id="judged on a machine that is a bit busy"),
        pytest.param(
            LOSS,
            service(control_p95_s=0.21),
            "the machine was busy: the control took 100 ms before and 210 ms during the fault",
            id="machine that became busy",
        ),
        pytest.param(PodPause(pod="p"), service(), "", id="fault that silences a pod"),
        *(
            pytest.param(fault, service(), "the fault slows requests by its nature", id=name_of(fault))
            for fault in SLOWING
        ),
    ],
)
def test_why_p95_is_not_judged(fault: Fault, during: Service, excuse: str) -> None:
    """A limit that is not applied has a reason in words."""
    assert Disturbance(fault=fault, baseline=service(), during=during).p95_excuse == excuse


def test_a_baseline_of_few_requests_is_none_for_a_p95() -> None:
    """What a p95 is held against must not be down to luck, either."""
    disturbance = Disturbance(fault=LOSS, baseline=service(requests=199), during=service(p95_s=9.0))

    assert disturbance.p95_excuse == "199 requests are too few, 200 are needed"
    assert disturbance.excesses() == []


@pytest.mark.parametrize(("availability", "verdict"), [(0.995, "ok"), (0.98, "fail")], ids=["ok", "fail"])
def test_it_is_written_down(tmp_path: Path, availability: float, verdict: str) -> None:
    """Reports show it, judged or not."""
    history = History(tmp_path / "h.jsonl", "test")

    Disturbance(fault=SLOW, baseline=service(), during=service(availability=availability)).record(history)

    (record,) = read([history.path])
    assert (record["f"], record["type"], record["requests"]) == ("service", verdict, 1000)
    assert (record["availability"], record["p95_s"], record["baseline_p95_s"]) == (availability, 0.3, 0.3)
    assert record["error_increase"] == pytest.approx(1 - availability)
