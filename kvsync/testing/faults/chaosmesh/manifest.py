"""A fault as a Chaos Mesh experiment (API chaos-mesh.org/v1alpha1). Pure: values in, a manifest out.

Where the two differ, these rules make the experiment do what the fault says:

- `direction` is Chaos Mesh's, seen from the selected pods: `to` drops what they send. A Partition's direction
  is seen from the pod as well, but names what is lost: `to` is what goes to the pod.
- Delay, loss and corruption act where packets leave. To act on both ways they need the other end, `peers`, as
  the experiment's target; without peers only what the pod sends is disturbed, wherever it goes.
- A port is blocked by an external target `CIDR:port` with direction `from`: the daemon's rule for what comes
  in compares the sender's address and the pod's own port (`--match-set ... src,dst`). Packets are dropped,
  not refused, so a subscriber notices at its next missed heartbeat.
- Percentages are strings, except IOChaos' `percent` and StressChaos' `load`.
- `duration` counts from the creation of the resource; experiments that act once have none.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kvsync.testing.clusters.cluster import PORTS
from kvsync.testing.clusters.kubernetes.manifests import PORT_NUMBERS, Manifest
from kvsync.testing.faults.fault import (
    BURST_BYTES,
    QUEUE_BYTES,
    Bandwidth,
    ClockOffset,
    ContainerKill,
    Corruption,
    CpuStress,
    Cut,
    DiskLatency,
    Fault,
    HttpDelay,
    Latency,
    MemoryStress,
    MessageLoss,
    OneShot,
    PacketLoss,
    Partition,
    PodFailure,
    PodKill,
    PodPause,
    PortsBlocked,
    Restart,
    Stall,
    name_of,
)
from kvsync.testing.results.verdicts import NotRun

GROUP, VERSION = "chaos-mesh.org", "v1alpha1"

EVERYBODY = ("0.0.0.0/1", "128.0.0.0/1")
"""All IPv4 addresses: the daemon keeps targets in an ipset of nets, which cannot hold 0.0.0.0/0."""


Mode = Literal["one", "all", "fixed", "fixed-percent", "random-max-percent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Victims:
    """Which pods an experiment selects; without namespaces, those in its own namespace.

    `value` belongs to the modes that count or take a share (percent). `pods` maps namespaces to names.
    `container` is the one whose process is killed, stressed or deceived.
    """

    mode: Mode = "all"
    value: int | None = None
    namespaces: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    pods: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    container: str = "engine"

    def __post_init__(self) -> None:
        if (self.value is None) is not (self.mode in {"one", "all"}):
            raise ValueError(f"mode {self.mode!r} and value {self.value} do not belong together")


GATEWAYS = Victims(labels={"app": "gateway"})


def render(
    fault: Fault,
    *,
    name: str,
    namespace: str,
    victims: Victims,
    duration_s: float | None,
    labels: Mapping[str, str],
    peers: Victims | None = GATEWAYS,
) -> Manifest:
    """Return the custom resource that does this to the victims; the fault's own pod is not looked at.

    Without a namespace the resource can be applied to any. Raises NotRun for what Chaos Mesh cannot do.
    """
    if reason := impossible(fault):
        raise NotRun(reason)
    kind, spec = _experiment(fault, victims, peers)
    if duration_s is not None and not isinstance(fault, OneShot):
        spec["duration"] = go_duration(duration_s)
    metadata: Manifest = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": kind,
        "metadata": {**metadata, "labels": dict(labels)},
        "spec": {**_selection(victims), **spec},
    }


def impossible(fault: Fault) -> str:
    """Say why there is no experiment that does what this fault says; "" when there is one."""
    match fault:
        case PodPause() | Restart() | Stall() | Cut() | MessageLoss():
            return f"chaos mesh has no experiment for {name_of(fault)}"
        case Latency(ports=ports) if set(ports) != set(PORTS):
            return f"chaos mesh delays all of a pod's traffic, not that of {', '.join(ports)} alone"
        case PortsBlocked(ports=ports) if "events" not in ports:
            return "chaos mesh cannot reset the events connection, which goes with blocking other ports"
    return ""


def plural(kind: str) -> str:
    """Return what the API calls resources of a kind: "NetworkChaos" is one of "networkchaos"."""
    return kind.lower()


def go_duration(seconds: float) -> str:
    """Write a duration as Go reads it, in the largest whole unit: 0.5 is "500ms"."""
    microseconds = round(seconds * 1_000_000)
    for size, unit in ((1_000_000, "s"), (1_000, "ms")):
        if microseconds % size == 0:
            return f"{microseconds // size}{unit}"
    return f"{microseconds}us"


def _selection(victims: Victims) -> Manifest:
    selector = {
        "namespaces": list(victims.namespaces),
        "labelSelectors": dict(victims.labels),
        "pods": {namespace: list(names) for namespace, names in victims.pods.items()},
    }
    value = {} if victims.value is None else {"value": str(victims.value)}
    return {"mode": victims.mode, **value, "selector": {key: what for key, what in selector.items() if what}}


def _experiment(fault: Fault, victims: Victims, peers: Victims | None) -> tuple[str, Manifest]:
    """Return the kind of an experiment and what is special in its spec."""
    match fault:
        case PodKill() | ContainerKill() | PodFailure():
            return "PodChaos", _pod_chaos(fault, victims)
        case Partition() | PortsBlocked() | Latency() | PacketLoss() | Corruption() | Bandwidth():
            return "NetworkChaos", _network_chaos(fault, peers)
        case CpuStress() | MemoryStress() | DiskLatency() | ClockOffset():
            kind, spec = _container_chaos(fault)
            return kind, {"containerNames": [victims.container], **spec}
        case HttpDelay(delay_s=delay_s):
            delay = go_duration(delay_s)
            return "HTTPChaos", {"target": "Request", "port": PORT_NUMBERS["http"], "delay": delay}
        case PodPause() | Restart() | Stall() | Cut() | MessageLoss():
            raise NotRun(impossible(fault))


def _pod_chaos(fault: PodKill | ContainerKill | PodFailure, victims: Victims) -> Manifest:
    match fault:
        case PodKill():
            return {"action": "pod-kill", "gracePeriod": 0}
        case ContainerKill():
            return {"action": "container-kill", "containerNames": [victims.container]}
        case PodFailure():
            return {"action": "pod-failure"}


def _network_chaos(
    fault: Partition | PortsBlocked | Latency | PacketLoss | Corruption | Bandwidth, peers: Victims | None
) -> Manifest:
    match fault:
        case Partition(direction=lost):
            return {"action": "partition", "direction": {"both": "both", "to": "from", "from": "to"}[lost]}
        case PortsBlocked(ports=ports):
            blocked = [f"{net}:{PORT_NUMBERS[port]}" for port in ports for net in EVERYBODY]
            return {"action": "partition", "direction": "from", "externalTargets": blocked}
        case Bandwidth(bytes_per_s=bytes_per_s):
            rate = {"rate": f"{round(bytes_per_s)}bps", "limit": QUEUE_BYTES, "buffer": BURST_BYTES}
            return {"action": "bandwidth", "direction": "to", "bandwidth": rate}
        case Latency(delay_s=delay_s, jitter_s=jitter_s, correlation=correlation):
            delay = {"latency": go_duration(delay_s), "jitter": go_duration(jitter_s)}
            return _netem("delay", delay, correlation, peers)
        case PacketLoss(fraction=fraction, correlation=correlation):
            return _netem("loss", {"loss": _percent(fraction)}, correlation, peers)
        case Corruption(fraction=fraction, correlation=correlation):
            return _netem("corrupt", {"corrupt": _percent(fraction)}, correlation, peers)


def _netem(action: str, how: Manifest, correlation: float, peers: Victims | None) -> Manifest:
    spec = {"action": action, action: {**how, "correlation": _percent(correlation)}}
    return spec | ({"direction": "both", "target": _selection(peers)} if peers else {"direction": "to"})


def _container_chaos(fault: CpuStress | MemoryStress | DiskLatency | ClockOffset) -> tuple[str, Manifest]:
    match fault:
        case CpuStress(workers=workers, load=load):
            return "StressChaos", {"stressors": {"cpu": {"workers": workers, "load": round(100 * load)}}}
        case MemoryStress(workers=workers, size_bytes=size_bytes):
            # In whole MB, which are 1024 * 1024 bytes to its stress program; all workers share the size.
            size = f"{math.ceil(size_bytes / 2**20)}MB"
            return "StressChaos", {"stressors": {"memory": {"workers": workers, "size": size}}}
        case DiskLatency(delay_s=delay_s, fraction=fraction, path=path):
            share = round(100 * fraction)
            latency = {"action": "latency", "delay": go_duration(delay_s), "percent": share}
            return "IOChaos", {**latency, "volumePath": path}
        case ClockOffset(offset_s=offset_s):
            return "TimeChaos", {"timeOffset": go_duration(offset_s)}


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g}"
