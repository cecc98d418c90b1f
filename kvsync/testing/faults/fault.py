"""Faults as values: what happens to which pod, and how much of it."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from kvsync.testing.clusters.cluster import PORTS, PortName

QUEUE_BYTES, BURST_BYTES = 100_000, 10_000
"""What waits for a narrow link, and what passes it at once; more is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodKill:
    """The pod is deleted without grace; what keeps the number of pods starts another in its place."""

    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerKill:
    """The engine's process is killed and comes back at once: same pod, same address, empty cache."""

    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The process is asked to end, and comes back when it has: same address."""

    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFailure:
    """The engine is down while the fault is held; it comes back at the same address with an empty cache."""

    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPause:
    """The engine's process is stopped: connections stay open and nothing answers."""

    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Nothing passes between the pod and anything else: neither way, only `from` it, or only `to` it."""

    pod: str
    direction: Literal["both", "to", "from"] = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """Connections to these ports stay open, new ones are accepted, and nothing passes."""

    pod: str
    ports: tuple[PortName, ...] = PORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Connections to these ports are reset, once; new ones are accepted."""

    pod: str
    ports: tuple[PortName, ...] = PORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Everything to and from these ports takes `delay_s` longer each way, give or take `jitter_s`.

    `correlation` is how much of each delay is that of the packet before it, 0 to 1; a proxy ignores it.
    """

    pod: str
    delay_s: float
    jitter_s: float = 0.0
    correlation: float = 0.0
    ports: tuple[PortName, ...] = PORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketLoss:
    """This fraction of the network's packets from and to the pod is lost, and sent again by TCP."""

    pod: str
    fraction: float
    correlation: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """The pod sends at most this many bytes per second; a proxy limits each connection, both ways."""

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
    ports: tuple[PortName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuStress:
    """This many busy processes next to the engine, each using this share of one core."""

    pod: str
    workers: int = 2
    load: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStress:
    """This many processes next to the engine that together hold this much memory."""

    pod: str
    workers: int = 2
    size_bytes: int = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockOffset:
    """The engine's wall clock is off by this much; its events carry the wrong time."""

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
    """Every request to the engine's OpenAI port waits this long before it is answered."""

    pod: str
    delay_s: float


Fault = (
    PodKill
    | ContainerKill
    | Restart
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

OneShot = PodKill | ContainerKill | Restart | Cut
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
