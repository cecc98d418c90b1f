"""What faults do to a pod, measured over HTTP and TCP, in any kind of cluster.

The gateway is never asked, because it is what is being tested.
"""

import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import httpx

from kvsync.testing.clusters.cluster import PodHandle, PortName
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES, PodAdmin, answers, fetch
from kvsync.testing.faults.holding import Effect

SILENCE_S = 0.5
"""A pod that says nothing for this long is silent; a healthy one answers within milliseconds."""
ANSWERED, SILENT, REFUSED = "answered", f"silent for {SILENCE_S:g} s", "refused"

ROUND_TRIPS = 3
BULK_BYTES = 64 * 1024
"""What a transfer is timed with: large against a request, small enough to go through a narrow link."""
BULK_ANSWER_BYTES = 4 * BULK_BYTES
"""What comes back: each character as a number of three digits, and a comma."""
BULK_TIMEOUT_S = 60.0
STIMULI = 5
"""Messages provoked to see whether one is lost; with half of them lost, all pass once in 32 times."""


def ask(url: str) -> str:
    """Say in words what a health request to `url` gets: ANSWERED, SILENT, REFUSED or something else."""
    try:
        response = httpx.get(f"{url}/health", timeout=SILENCE_S, verify=NO_CERTIFICATES, trust_env=False)
    except httpx.TimeoutException:
        return SILENT
    except httpx.ConnectError:
        return REFUSED
    except httpx.HTTPError as exc:
        return f"broken off ({type(exc).__name__})"
    if response.is_success:
        return ANSWERED
    # The API server of Kubernetes, through which the pods of a cluster are reached, says so.
    return REFUSED if "connection refused" in response.text else f"answered with {response.status_code}"


def knock(host: str, port: int, timeout_s: float = SILENCE_S) -> str:
    """Say in words what a connection to a ZeroMQ socket gets, which greets every client."""
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            return ANSWERED if connection.recv(1) else "broken off"
    except TimeoutError:
        return SILENT
    except ConnectionRefusedError:
        return REFUSED
    except OSError as exc:
        return f"broken off ({type(exc).__name__})"


def round_trip_s(touch: Callable[[], object]) -> float:
    """Return how long `touch`, such as a health request, takes: the quickest of a few.

    A delay is in each of them, and what a busy machine adds is seldom in all.
    """

    def once() -> float:
        began = time.monotonic()
        touch()
        return time.monotonic() - began

    return min(once() for _ in range(ROUND_TRIPS))


def health_s(url: str) -> float:
    """Return how long a health request to `url` takes, answered or not."""
    return round_trip_s(lambda: answers(f"{url}/health"))


def transfer_s(pod: PodHandle) -> float:
    """Return how long it takes to send BULK_BYTES to a pod and to get BULK_ANSWER_BYTES back."""
    began = time.monotonic()
    body = {"model": pod.model, "prompt": "x" * BULK_BYTES}
    fetch(f"{pod.url}/tokenize", "POST", body, BULK_TIMEOUT_S)
    return time.monotonic() - began


def narrow(pod: PodHandle, bytes_per_s: float) -> Effect:
    """Measure whether an answer takes at least half the time it must through a link this narrow."""
    took_s = transfer_s(pod)
    evidence = f"an answer of {BULK_ANSWER_BYTES >> 10} KiB takes {took_s:.2f} s"
    return Effect(took_s >= 0.5 * BULK_ANSWER_BYTES / bytes_per_s, evidence)


def publish(url: str, model: str, numbers: Iterator[int]) -> None:
    """Make the pod at `url` publish, with prompts of one block; each begins with a number not used before."""
    for _ in range(STIMULI):
        body = {"model": model, "prompt": [next(numbers), *range(32)], "max_tokens": 1}
        fetch(f"{url}/v1/completions", "POST", body)


def lost(pod: PodHandle, stimulate: Callable[[], None]) -> Effect:
    """Measure whether the pod's event channel loses messages when it is made to publish."""
    admin = PodAdmin(pod.admin_url)
    before = admin.dropped()
    stimulate()
    dropped = admin.dropped() - before
    return Effect(dropped > 0, f"{dropped} of {STIMULI} messages lost")


def skewed(pod: PodHandle, by_s: float) -> Effect:
    """Measure whether the engine's wall clock is wrong by at least half of the offset."""
    began = time.time()
    wall = PodAdmin(pod.admin_url).wall()
    offset_s = wall - (began + time.time()) / 2
    return Effect(abs(offset_s) >= abs(by_s) / 2, f"the engine's clock is {offset_s:+.1f} s off")


def killed(pod: str, *, there: bool, runs: bool, came: Collection[str]) -> Effect:
    """Judge whether a pod is gone, its engine too, and another came. Pure."""
    gone, ended = "is there" if there else "is gone", "runs" if runs else "ended"
    who = ", ".join(sorted(came)) or "nobody"
    return Effect(not there and not runs and bool(came), f"{pod} {gone}, its engine {ended}, {who} came")


def restarted(what: str, before: tuple[int, int], now: tuple[int, int]) -> Effect:
    """Judge whether another engine, with an empty cache, took the place of one. Pure.

    Both say `what`, such as the process, and the epoch.
    """
    (one, epoch), (other, newer) = before, now
    return Effect(other != one and newer > epoch, f"{what} {other} after {one}, epoch {newer} after {epoch}")


def saying(said: Mapping[PortName, str], expected: Mapping[PortName, str]) -> Effect:
    """Judge whether each of these ports says what is expected of it. Pure."""
    return Effect(said == expected, _listed(said))


def unanswered(said: Mapping[PortName, str]) -> Effect:
    """Judge whether one of these ports is not answered. Pure."""
    return Effect(set(said.values()) != {ANSWERED}, _listed(said))


def missing(pods: Sequence[PodHandle], expected: int) -> Effect:
    """Measure whether fewer than `expected` of these pods answer."""
    ready = sum(ask(pod.url) == ANSWERED for pod in pods)
    return Effect(ready < expected, f"{ready} of {expected} pods are ready")


def _listed(said: Mapping[PortName, str]) -> str:
    return ", ".join(f"{port} {answer}" for port, answer in said.items())
