"""Faults as values, and the one way to hold them: proved to work, always taken back, proved to be gone.

`with active(fault, injector, history) as episode:` goes through these steps, each of them in the history:
the effect is absent before; inject; measure the effect (a fault without one is void: what follows would
have tested nothing); the body; recover, whatever happened; measure that the effect is gone.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

from kvsync.errors import WaitTimeout
from kvsync.testing.history import History
from kvsync.testing.verdicts import Inconclusive, Void
from kvsync.testing.wait import wait_for

Port = Literal["http", "events", "replay"]
"""What a pod listens for: requests, subscribers, replay requests."""
PORTS: tuple[Port, ...] = ("http", "events", "replay")

PROOF_TIMEOUT_S = 10.0
"""How long an effect may take to show, and to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodKill:
    """The engine's process is killed; recovery starts it again at the same address, with an empty cache."""

    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPause:
    """The engine's process stands still: connections stay open and nothing answers."""

    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Nothing passes between the pod and everybody else, in either direction."""

    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Everything to and from these ports takes `delay_s` longer each way, give or take `jitter_s`."""

    pod: str
    delay_s: float
    jitter_s: float = 0.0
    ports: tuple[Port, ...] = PORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """Each connection passes at most so many bytes per second each way."""

    pod: str
    bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageLoss:
    """This fraction of event messages never reaches subscribers; the publisher can still replay them."""

    pod: str
    fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """This fraction of the pieces that the events connection passes is damaged."""

    pod: str
    fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PortsBlocked:
    """Connections to these ports are reset and refused. The events connection is reset in any case.

    Blocking the replay port alone would change nothing while no message is missed, so the subscriber is
    made to reconnect, which it cannot do rightly without a replay.
    """

    pod: str
    ports: tuple[Port, ...]


Fault = PodKill | PodPause | Partition | Latency | Bandwidth | MessageLoss | Corruption | PortsBlocked


def name_of(fault: Fault) -> str:
    """Return the kind of a fault as reports write it: "message loss"."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", type(fault).__name__).lower()


def to_json(fault: Fault) -> dict[str, object]:
    """Return the fault as plain values, with its kind."""
    return {"kind": name_of(fault), **asdict(fault)}


@dataclass(frozen=True, slots=True)
class Effect:
    """What was measured: whether the fault acts now, and the evidence in words."""

    present: bool
    evidence: str


class Injector(Protocol):
    """Carries faults out on one cluster."""

    def inject(self, fault: Fault) -> None:
        """Make the fault act."""

    def recover(self, fault: Fault) -> None:
        """Take the fault back; does no harm when it never acted."""

    def measure(self, fault: Fault) -> Effect:
        """Measure, from outside of what is tested, whether the fault acts now."""


@dataclass(slots=True)
class Episode:
    """A fault on the clock (monotonic seconds): when it acted, and what was measured then and afterwards."""

    fault: Fault
    started: float
    ended: float | None = None
    proof: str = ""
    absence: str = ""


@contextmanager
def active(
    fault: Fault,
    injector: Injector,
    history: History,
    *,
    proof_timeout_s: float = PROOF_TIMEOUT_S,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Episode]:
    """Hold a fault while the block runs.

    Raises Void when the fault shows no effect or is there before it is injected, and Inconclusive when its
    effect does not go away.
    """
    history = history.bind(fault=to_json(fault))
    before = _await(fault, injector, proof_timeout_s, present=False)
    if before.present:
        raise Void(f"{name_of(fault)} acts before it was injected: {before.evidence}")
    episode = Episode(fault, clock())
    try:
        injector.inject(fault)
        effect = _await(fault, injector, proof_timeout_s, present=True)
        if not effect.present:
            raise Void(f"{name_of(fault)} had no measured effect: {effect.evidence}")
        episode.proof = effect.evidence
        history.append(f="fault", type="start", t_mono=episode.started, proof=effect.evidence)
        yield episode
    finally:
        injector.recover(fault)
        episode.ended = clock()
        rest = _await(fault, injector, proof_timeout_s, present=False)
        episode.absence = "" if rest.present else rest.evidence
        history.append(f="fault", type="stop", t_mono=episode.ended, proof=episode.absence)
    if rest.present:
        raise Inconclusive(f"{name_of(fault)} did not go away: {rest.evidence}")


def _await(fault: Fault, injector: Injector, timeout_s: float, *, present: bool) -> Effect:
    """Measure until the effect is, or is not, there; return the last measurement either way."""
    seen = Effect(not present, "")

    def measured() -> bool:
        nonlocal seen
        seen = injector.measure(fault)
        return seen.present is present

    with suppress(WaitTimeout):
        wait_for(measured, what=name_of(fault), timeout_s=timeout_s)
    return seen
