"""Network faults of a pod, by rules in its network namespace; seen by talking to the pod, and by counters."""

import secrets
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from kvsync.testing.clusters.cluster import PORTS, PodHandle, PortName
from kvsync.testing.faults import effects
from kvsync.testing.faults.fault import (
    Bandwidth,
    Corruption,
    Cut,
    Latency,
    PacketLoss,
    Partition,
    PortsBlocked,
    Stall,
    name_of,
)
from kvsync.testing.faults.holding import Effect
from kvsync.testing.faults.node import rules
from kvsync.testing.faults.node.changes import Changes
from kvsync.testing.faults.node.node import ACCEPTED, Node
from kvsync.testing.faults.node.pod import NodePod
from kvsync.testing.processes.ledger import Ledger

NOWHERE, DISCARD = "192.0.2.1", 9
"""An unused address (RFC 5737), and a port: what a pod sends there would have to pass eth0."""
REQUESTS = 5
"""Asked to see whether packets get lost; most take four packets each way."""


class RuledPod(Protocol):
    """A pod on a node that can be entered, in whose network rules are made."""

    name: str
    node: Node
    network: str

    @property
    def peer(self) -> str:
        """The node's end of the pod's link."""

    @property
    def handle(self) -> PodHandle:
        """Where it is reached."""

    def say(self, port: PortName) -> str:
        """Say in words what a client of one of its ports gets."""

    def reset(self, ports: Iterable[PortName]) -> int:
        """Reset the open connections to its ports; returns how many."""

    def unwell(self, *ports: PortName) -> Effect:
        """Measure whether a port is not answered, or Kubernetes does not find the pod ready."""


class RuleFault:
    """The pod's network has other rules while the fault acts."""

    def __init__(self, pod: RuledPod, fault: rules.NodeNetworkFault, ledger: Ledger) -> None:
        self._pod, self._fault = pod, fault
        self._changes, self._acting = Changes(pod.node, ledger), False
        self._mark = f"kvsync-{ledger.run}-{secrets.token_hex(4)}"
        self._resent, self._reset = 0, 0

    def inject(self) -> None:
        """Put the rules of the fault in force."""
        fault, pod = self._fault, self._pod
        peer = pod.peer if isinstance(fault, Latency | Corruption) else ""
        changes = rules.changes(fault, pod.network, peer, self._mark)
        self._resent = self._retransmitted()
        self._changes.make(f"{name_of(fault)} of {pod.name}", changes)
        self._acting = True
        if isinstance(fault, PortsBlocked):
            self._reset = pod.reset({*fault.ports, "events"})

    def recover(self) -> None:
        """Take the rules away."""
        self._acting = False
        self._changes.undo()

    def measure(self) -> Effect:
        """Talk to the pod, and see what the rules did to the packets."""
        match self._fault:
            case Bandwidth(bytes_per_s=bytes_per_s):
                return effects.narrow(self._pod.handle, bytes_per_s)
            case Latency(delay_s=delay_s):
                return self._late(delay_s)
            case PacketLoss() | Corruption():
                return self._losing()
            case Partition() | Stall() | PortsBlocked() if not self._acting:
                return self._pod.unwell(*PORTS)
            case Partition(direction=direction):
                return self._divided(rules.CHAINS[direction])
            case Stall(ports=ports):
                # Requests come through the API server, which says nothing of connections.
                silent = {port: effects.SILENT if port == "http" else ACCEPTED for port in ports}
                return self._saying(silent)
            case PortsBlocked(ports=ports):
                refused = self._saying(dict.fromkeys(ports, effects.REFUSED))
                evidence = f"{refused.evidence}, {self._reset} connections reset"
                return Effect(refused.present and self._reset > 0, evidence)

    def _divided(self, chains: Collection[str]) -> Effect:
        said = self._pod.say("http")
        if "OUTPUT" in chains:
            # When no request comes in, only what the pod sends by itself can be lost on its way out.
            self._pod.node.knock(NOWHERE, DISCARD, self._pod.network)
        lost = self._dropped()
        evidence = f"a request is {said}; lost {lost['INPUT']} packets to the pod, {lost['OUTPUT']} from it"
        hit = {chain for chain, packets in lost.items() if packets}
        return Effect(said == effects.SILENT and hit == set(chains), evidence)

    def _saying(self, expected: Mapping[PortName, str]) -> Effect:
        return effects.saying({port: self._pod.say(port) for port in expected}, expected)

    def _late(self, delay_s: float) -> Effect:
        """Measure whether a request takes half of what two delays add; without any it takes milliseconds."""
        took_s = effects.health_s(self._pod.handle.url)
        return Effect(took_s >= delay_s, f"a request takes {1000 * took_s:.0f} ms")

    def _losing(self) -> Effect:
        """Count what was sent again: since the fault began or, at other times, now."""
        began = self._resent if self._acting else self._retransmitted()
        said = [self._pod.say("http") for _ in range(REQUESTS)]
        resent, answered = self._retransmitted() - began, said.count(effects.ANSWERED)
        evidence = f"{answered} of {REQUESTS} requests answered, {resent} packets sent again"
        if not self._acting:
            return Effect(resent > 0 or answered < REQUESTS, evidence)
        if isinstance(self._fault, Corruption):
            return Effect(resent > 0, evidence)
        dropped = sum(self._dropped().values())
        return Effect(resent > 0 and dropped > 0, f"{evidence}, {dropped} dropped")

    def _dropped(self) -> dict[str, int]:
        """Return how many packets our rules hit in each chain."""
        network = self._pod.network
        listed = {chain: self._pod.node.run(*rules.counters(network, chain)) for chain in rules.INTERFACES}
        return {chain: rules.hits(lines, self._mark) for chain, lines in listed.items()}

    def _retransmitted(self) -> int:
        return rules.retransmitted(self._pod.node.run(*rules.statistics(self._pod.network)))


class NodeCut:
    """The connections that are open at one moment are reset."""

    def __init__(self, pod: NodePod, fault: Cut) -> None:
        self._pod, self._ports = pod, fault.ports
        self._reset: int | None = None  # connections; None unless they were cut

    def inject(self) -> None:
        """Reset them: the kernel closes the pod's ends, and tells the others."""
        self._reset = self._pod.reset(self._ports)

    def recover(self) -> None:
        """Do nothing: new ones are accepted all the time."""
        self._reset = None

    def measure(self) -> Effect:
        """Say how many were reset, or see whether new connections are answered."""
        if self._reset is not None:
            return Effect(self._reset > 0, f"{self._reset} connections reset")
        return self._pod.unwell(*self._ports)
