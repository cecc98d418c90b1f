"""After any fault the index is right again within seconds, and requests were served all the time."""

from collections.abc import Callable, Sequence

import pytest

from kvsync.testing.faults import (
    Bandwidth,
    Corruption,
    Fault,
    Latency,
    MessageLoss,
    Partition,
    PodKill,
    PodPause,
    PortsBlocked,
    active,
)
from kvsync.testing.local import LocalCluster
from kvsync.testing.local_faults import LocalInjector
from kvsync.testing.scenario import Scenario
from kvsync.testing.trace import Request, generate
from kvsync.testing.traffic import Answer, BackgroundTraffic, Sender, availability
from kvsync.testing.verdicts import Inconclusive

AVAILABILITY = 0.99
RATE_PER_S = 20.0
BASELINE_S = 1.5
AFTER_S = 1.0
"""Requests go on so long after a fault, so that the pod that had it publishes again."""
FEWEST_REQUESTS = 20
"""Fewer requests during a fault say nothing about a share of 99 %."""
POD = "qwen-1"
ONLY_FULL = [pytest.mark.full]

FAULTS = [
    pytest.param(PodKill(pod=POD), {"quick": 3, "full": 60}, id="pod kill"),
    pytest.param(PodPause(pod=POD), {"quick": 4, "full": 30}, id="pod pause"),
    pytest.param(Partition(pod=POD), {"quick": 4, "full": 30}, id="partition"),
    pytest.param(Latency(pod=POD, delay_s=0.1, jitter_s=0.02), {"quick": 3, "full": 60}, id="latency"),
    pytest.param(MessageLoss(pod=POD, fraction=0.5), {"quick": 3, "full": 60}, id="message loss"),
    pytest.param(
        PortsBlocked(pod=POD, ports=("replay",)), {"quick": 3, "full": 30}, id="replay port blocked"
    ),
    pytest.param(
        Latency(pod=POD, delay_s=0.5, jitter_s=0.1), {"full": 60}, id="high latency", marks=ONLY_FULL
    ),
    pytest.param(
        Latency(pod=POD, delay_s=2.0, ports=("http",)), {"full": 60}, id="slow requests", marks=ONLY_FULL
    ),
    pytest.param(MessageLoss(pod=POD, fraction=0.1), {"full": 60}, id="some message loss", marks=ONLY_FULL),
    pytest.param(Bandwidth(pod=POD, bytes_per_s=125_000), {"full": 60}, id="bandwidth", marks=ONLY_FULL),
    pytest.param(Corruption(pod=POD, fraction=0.5), {"full": 60}, id="corruption", marks=ONLY_FULL),
    pytest.param(
        PortsBlocked(pod=POD, ports=("events", "replay")), {"full": 30}, id="ports blocked", marks=ONLY_FULL
    ),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("fault", "durations_s"), FAULTS)
def test_recovery_from(
    fault: Fault,
    durations_s: dict[str, float],
    scenario: Scenario,
    cluster: LocalCluster,
    profile: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Steady state, a fault that is proved to act, traffic during it, proof of its end, convergence."""
    cluster.deploy("qwen", 3, capacity=192)
    with Sender(cluster.gateway_url, scenario.history) as sender:
        with BackgroundTraffic(sender, _requests(scenario.seed, BASELINE_S)) as traffic:
            traffic.await_due(BASELINE_S)
        baseline = traffic.answers()
        scenario.verify()
        duration_s = durations_s[profile]
        with BackgroundTraffic(sender, _requests(scenario.seed + 1, duration_s + AFTER_S)) as traffic:
            with active(fault, LocalInjector(cluster), scenario.history) as episode:
                traffic.await_due(duration_s)
            traffic.await_due(duration_s + AFTER_S)
        answers = [each for each in traffic.answers() if each.t_mono >= episode.started]
    recovery_s = scenario.verify_recovery(episode)

    measured = {
        "proof": episode.proof,
        "absence": episode.absence,
        "recovery_s": f"{recovery_s:.2f}",
        "requests": len(answers),
        "availability": f"{availability(answers):.4f}",
        "p95_ms": f"{_p95_ms(answers):.0f}",
        "slowest_ms": f"{1000 * max(answer.latency_s for answer in answers):.0f}",
        "baseline_p95_ms": f"{_p95_ms(baseline):.0f}",
    }
    for name, value in measured.items():
        record_property(name, value)
    if len(answers) < FEWEST_REQUESTS:
        raise Inconclusive(f"only {len(answers)} requests while the fault acted")
    assert availability(baseline) == 1.0
    assert availability(answers) >= AVAILABILITY, _failures(answers)


def _requests(seed: int, duration_s: float) -> list[Request]:
    return generate(seed, round(duration_s * RATE_PER_S), model="qwen", rate_per_s=RATE_PER_S)


def _p95_ms(answers: Sequence[Answer]) -> float:
    ordered = sorted(answer.latency_s for answer in answers)
    return 1000 * ordered[int(0.95 * (len(ordered) - 1))]


def _failures(answers: Sequence[Answer]) -> str:
    failed = [answer for answer in answers if not answer.ok]
    return f"{len(failed)} of {len(answers)} requests failed, such as: {failed[0].status} {failed[0].error}"
