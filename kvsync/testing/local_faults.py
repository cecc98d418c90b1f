"""Carries faults out on a local cluster: signals for processes, the fault proxy for the network.

Effects are measured with requests of our own, to the pod's front address as clients use it and past the
proxy to the engine itself, and never by asking the gateway, which is what is being tested.
"""

import itertools
import socket
import time
from collections.abc import Collection
from statistics import median

import httpx

from kvsync.testing.endpoints import NO_CERTIFICATES, PodAdmin, answers, fetch
from kvsync.testing.faults import (
    Bandwidth,
    Corruption,
    Effect,
    Fault,
    Latency,
    MessageLoss,
    Partition,
    PodKill,
    PodPause,
    Port,
    PortsBlocked,
)
from kvsync.testing.local import LocalCluster
from kvsync.testing.local_pod import LocalPod
from kvsync.testing.proxy import CLEAR, SILENT, Rules

SILENCE_S = 0.5
"""A pod that says nothing for so long to a health request, which takes milliseconds, is silent."""
ROUND_TRIPS = 3
BULK_BYTES = 64 * 1024
"""What a transfer is timed with: large against a request, small enough to go through a narrow link."""
SILENT_ANSWER = f"a request gets no answer within {SILENCE_S:g} s"
REFUSED_ANSWER = "connections are refused"
STIMULI = 5
"""Messages provoked to see whether one is lost; with half of them lost, all pass once in 32 times."""


class LocalInjector:
    """An Injector for one local cluster."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._numbers = itertools.count(1_000_000)

    def inject(self, fault: Fault) -> None:
        """See Injector."""
        pod = self._cluster.pod(fault.pod)
        match fault:
            case PodKill():
                pod.kill()
            case PodPause():
                pod.program.pause()
            case Partition():
                pod.apply(SILENT)
            case Latency(delay_s=delay_s, jitter_s=jitter_s, ports=ports):
                pod.apply(Rules(delay_s=delay_s, jitter_s=jitter_s), ports)
            case Bandwidth(bytes_per_s=bytes_per_s):
                pod.apply(Rules(bytes_per_s=bytes_per_s))
            case Corruption(fraction=fraction):
                pod.apply(Rules(corrupt=fraction), ["events"])
            case MessageLoss(fraction=fraction):
                PodAdmin(pod.handle.admin_url).disturb(drop=fraction)
            case PortsBlocked(ports=ports):
                pod.apply(Rules(refuse=True), ports)
                pod.cut({*ports, "events"})

    def recover(self, fault: Fault) -> None:
        """See Injector."""
        pod = self._cluster.pod(fault.pod)
        match fault:
            case PodKill():
                # Not through the cluster, which would wait for the gateway: its recovery is to be timed.
                pod.start()
                pod.await_ready()
            case PodPause():
                pod.program.resume()
            case MessageLoss():
                PodAdmin(pod.handle.admin_url).disturb()
            case _:
                pod.apply(CLEAR)

    def measure(self, fault: Fault) -> Effect:
        """See Injector."""
        pod = self._cluster.pod(fault.pod)
        match fault:
            case PodKill():
                return _dead(pod)
            case Partition():
                answer = _ask(pod.handle.url)
                return Effect(answer == SILENT_ANSWER, answer)
            case PodPause():
                return _paused(pod)
            case Latency(delay_s=delay_s):
                return _slow(pod, delay_s)
            case Bandwidth(bytes_per_s=bytes_per_s):
                return _narrow(pod, bytes_per_s)
            case MessageLoss():
                return self._lossy(pod)
            case Corruption():
                return self._corrupting(pod)
            case PortsBlocked(ports=ports):
                return _refusing(pod, ports)

    def _lossy(self, pod: LocalPod) -> Effect:
        admin = PodAdmin(pod.handle.admin_url)
        before = admin.dropped()
        self._stimulate(pod)
        lost = admin.dropped() - before
        return Effect(lost > 0, f"{lost} of {STIMULI} messages lost")

    def _corrupting(self, pod: LocalPod) -> Effect:
        before = pod.listener("events").counters().corrupted
        self._stimulate(pod)
        corrupted = pod.listener("events").counters().corrupted - before
        return Effect(corrupted > 0, f"{corrupted} pieces of the events connection corrupted")

    def _stimulate(self, pod: LocalPod) -> None:
        """Make a pod publish, with prompts of one block that nobody sent before."""
        for _ in range(STIMULI):
            number = next(self._numbers)
            body = {"model": pod.model, "prompt": [number, *range(32)], "max_tokens": 1}
            fetch(f"{pod.direct_url}/v1/completions", "POST", body)


def _dead(pod: LocalPod) -> Effect:
    gone, answer = not pod.program.is_running, _ask(pod.handle.url)
    state = "is gone" if gone else "runs"
    return Effect(gone and answer == REFUSED_ANSWER, f"process {pod.program.pid} {state}, {answer}")


def _paused(pod: LocalPod) -> Effect:
    paused, answer = pod.program.is_paused, _ask(pod.direct_url)
    state = "is stopped" if paused else "runs"
    return Effect(paused and answer == SILENT_ANSWER, f"process {pod.program.pid} {state}, {answer}")


def _slow(pod: LocalPod, delay_s: float) -> Effect:
    rise = _round_trip_s(pod.handle.url) - _round_trip_s(pod.direct_url)
    # Half of what two delays add: jitter and a busy machine blur the rest.
    return Effect(rise >= delay_s, f"a round trip takes {1000 * rise:.0f} ms longer than past the proxy")


def _narrow(pod: LocalPod, bytes_per_s: float) -> Effect:
    took_s = _transfer_s(pod)
    evidence = f"{BULK_BYTES // 1024} KiB take {took_s:.2f} s"
    return Effect(took_s >= 0.5 * BULK_BYTES / bytes_per_s, evidence)


def _refusing(pod: LocalPod, ports: Collection[Port]) -> Effect:
    refused = [port for port in ports if not _can_connect(pod, port)]
    return Effect(len(refused) == len(ports), f"refused: {', '.join(refused) or 'nothing'}")


def _ask(url: str) -> str:
    """Say in words what a health request gets."""
    try:
        response = httpx.get(f"{url}/health", timeout=SILENCE_S, verify=NO_CERTIFICATES, trust_env=False)
    except httpx.TimeoutException:
        return SILENT_ANSWER
    except httpx.ConnectError:
        return REFUSED_ANSWER
    except httpx.HTTPError as exc:
        return f"a request ends with {type(exc).__name__}"
    return f"a request is answered with {response.status_code}"


def _round_trip_s(url: str) -> float:
    def once() -> float:
        began = time.monotonic()
        answers(f"{url}/health")
        return time.monotonic() - began

    return median(once() for _ in range(ROUND_TRIPS))


def _transfer_s(pod: LocalPod) -> float:
    began = time.monotonic()
    fetch(f"{pod.handle.url}/tokenize", "POST", {"model": pod.model, "prompt": "x" * BULK_BYTES}, 60)
    return time.monotonic() - began


def _can_connect(pod: LocalPod, port: Port) -> bool:
    listener = pod.listener(port)
    try:
        socket.create_connection((listener.host, listener.port), SILENCE_S).close()
    except OSError:
        return False
    return True
