"""Faults as values, and the one way to hold them: proved to work, always taken back, proved to be gone.

`with active(fault, injector, history) as episode:` goes through these steps, each of them in the history:
the effect is absent before; inject; measure the effect (a fault without one is void: what follows would
have tested nothing); the body; recover, whatever happened; measure that the effect is gone.

Some faults are over as soon as they happened (OneShot): nobody holds them, and what they broke comes back
by itself. Their effect is that it happened, compared with what was noted just before; it is gone when
everything is back. Their recovery counts from the moment they were injected.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Literal, Protocol, get_args

from kvsync.errors import ClusterError, WaitTimeout
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import History
from kvsync.testing.results.verdicts import Inconclusive, Void

Port = Literal["http", "events", "replay"]
"""What a pod listens for: requests, subscribers, replay requests."""
PORTS: tuple[Port, ...] = ("http", "events", "replay")

PROOF_TIMEOUT_S = 30.0
"""How long an effect may take to show, and to go: a pod starts within it, on a busy machine too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodKill:
    """The pod is deleted without grace; whoever keeps the number of pods puts another in its place."""

    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerKill:
    """The engine's process is killed and comes back at once: same pod, same address, empty cache."""

    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFailure:
    """The engine is down while this is held; it comes back at the same address with an empty cache."""

    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPause:
    """The engine's process stands still: connections stay open and nothing answers."""

    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Nothing passes between the pod and everybody else: neither way, only `from` it, or only `to` it."""

    pod: str
    direction: Literal["both", "to", "from"] = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """Connections to these ports stay open, new ones are accepted, and nothing passes."""

    pod: str
    ports: tuple[Port, ...] = PORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Connections to these ports are reset, once; new ones are accepted."""

    pod: str
    ports: tuple[Port, ...] = PORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Everything to and from these ports takes `delay_s` longer each way, give or take `jitter_s`.

    `correlation` is how much of each delay is that of the packet before it, 0 to 1; a proxy ignores it.
    """

    pod: str
    delay_s: float
    jitter_s: float = 0.0
    correlation: float = 0.0
    ports: tuple[Port, ...] = PORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketLoss:
    """This fraction of the network's packets from and to the pod is lost, and sent again by TCP."""

    pod: str
    fraction: float
    correlation: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """The pod sends at most so many bytes per second; a proxy bounds each connection, and both ways."""

    pod: str
    bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageLoss:
    """This fraction of event messages never reaches subscribers; the publisher can still replay them."""

    pod: str
    fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """This fraction of packets is damaged; a proxy damages pieces of the events connection, above TCP."""

    pod: str
    fraction: float
    correlation: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PortsBlocked:
    """Connections to these ports are reset and refused. The events connection is reset in any case.

    Blocking the replay port alone would change nothing while no message is missed, so the subscriber is
    made to reconnect, which it cannot do rightly without a replay.
    """

    pod: str
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuStress:
    """So many busy processes beside the engine, each at this share of one core."""

    pod: str
    workers: int = 2
    load: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStress:
    """So many processes beside the engine that together hold this much memory."""

    pod: str
    workers: int = 2
    size_bytes: int = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockOffset:
    """The engine's wall clock is wrong by so much; what is published carries its time."""

    pod: str
    offset_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskLatency:
    """This fraction of what is done with files below `path` takes `delay_s` longer."""

    pod: str
    delay_s: float
    fraction: float = 1.0
    path: str = "/tmp"  # noqa: S108 - where the experiment looks, nothing is written there


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDelay:
    """Every request to the engine's OpenAI port waits so long before it is answered."""

    pod: str
    delay_s: float


Fault = (
    PodKill
    | ContainerKill
    | PodFailure
    | PodPause
    | Partition
    | Stall
    | Cut
    | Latency
    | PacketLoss
    | Bandwidth
    | MessageLoss
    | Corruption
    | PortsBlocked
    | CpuStress
    | MemoryStress
    | ClockOffset
    | DiskLatency
    | HttpDelay
)

OneShot = PodKill | ContainerKill | Cut
"""Faults that happen and are over; what they broke comes back by itself."""


def name_of(fault: Fault) -> str:
    """Return the kind of a fault as reports write it: "message loss"."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", type(fault).__name__).lower()


def to_json(fault: Fault) -> dict[str, object]:
    """Return the fault as plain values, with its kind."""
    return {"kind": name_of(fault), **asdict(fault)}


def from_json(value: Mapping[str, object]) -> Fault:
    """Return the fault that `to_json` wrote. Raises KeyError or TypeError for anything else."""
    kind = str(value["kind"]).title().replace(" ", "")
    (found,) = (each for each in get_args(Fault) if each.__name__ == kind)
    fault: Fault = found(**{name: each for name, each in value.items() if name != "kind"})
    return fault


@dataclass(frozen=True, slots=True)
class Effect:
    """What was measured: whether the fault acts now, and the evidence in words."""

    present: bool
    evidence: str


class Injector(Protocol):
    """Carries faults out on one cluster.

    There are two reasons why one is not carried out. What no cluster of the kind can ever have is
    `impossible`: its test is left out. What this cluster or machine lacks is found by `inject`: its test
    was to run and did not, which stays an open question until somebody provides what is missing.
    """

    @staticmethod
    def impossible(fault: Fault) -> str:
        """Say why no cluster of this kind can have the fault; "" when it can. Needs no cluster."""

    def inject(self, fault: Fault) -> None:
        """Make the fault act. Raises NotRun, with nothing changed, when something it needs is missing."""

    def recover(self, fault: Fault) -> None:
        """Take the fault back, without waiting for the pod to be well; does no harm when it never acted."""

    def measure(self, fault: Fault) -> Effect:
        """Measure, from outside of what is tested, whether the fault acts now.

        From `inject` to `recover` a OneShot fault is present when it happened, whatever came back since; at
        any other time it is present while something is not back. Raises ClusterError when nothing can be
        measured now.
        """


@dataclass(slots=True)
class Episode:
    """A fault on the clock (monotonic seconds): when it acted, and what was measured then and afterwards.

    It may act from `started` on, and does from `proven` on: injecting and measuring take their time, which
    is none of the time that it is to be held. A OneShot fault ended when it started.
    """

    fault: Fault
    started: float
    proven: float | None = None
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

    Raises Void when the fault shows no effect or is there before it is injected, Inconclusive when its
    effect does not go away, and NotRun when the injector does.
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
        episode.proof, episode.proven = effect.evidence, clock()
        history.append(f="fault", type="start", t_mono=episode.started, proof=effect.evidence)
        yield episode
    finally:
        injector.recover(fault)
        episode.ended = episode.started if isinstance(fault, OneShot) else clock()
        rest = _await(fault, injector, proof_timeout_s, present=False)
        episode.absence = "" if rest.present else rest.evidence
        if episode.proof:
            held_s = max(0.0, episode.ended - (episode.proven or episode.ended))
            history.append(f="fault", type="stop", t_mono=episode.ended, proof=episode.absence, held_s=held_s)
    if rest.present:
        raise Inconclusive(f"{name_of(fault)} did not go away: {rest.evidence}")


def _await(fault: Fault, injector: Injector, timeout_s: float, *, present: bool) -> Effect:
    """Measure until the effect is, or is not, there; return the last measurement either way."""
    seen = Effect(not present, "")

    def measured() -> bool:
        nonlocal seen
        try:
            seen = injector.measure(fault)
        except ClusterError as exc:  # neither there nor not there
            seen = Effect(not present, f"not measured: {exc}")
        return seen.present is present

    with suppress(WaitTimeout):
        wait_for(measured, what=name_of(fault), timeout_s=timeout_s)
    return seen
