"""The iptables and tc commands for each fault, and those that undo them. Pure.

- Rules are in the pod's network namespace and only for eth0: inside the pod nothing changes. Everything
  that comes from outside is hit, including the kubelet's probes, so the pod is soon not ready.
- Open connections are hit like new ones: the rules look at packets, not at the state of connections.
- netem and tbf act where packets leave. What comes to a pod leaves the node's end of its link.
- `correlation` of a packet loss is not used: iptables draws for each packet.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kvsync.testing.clusters.cluster import PortName
from kvsync.testing.clusters.kubernetes.manifests import PORT_NUMBERS
from kvsync.testing.faults.fault import (
    BURST_BYTES,
    QUEUE_BYTES,
    Bandwidth,
    Corruption,
    Latency,
    PacketLoss,
    Partition,
    PortsBlocked,
    Stall,
)

NodeNetworkFault = Partition | Stall | PortsBlocked | PacketLoss | Bandwidth | Latency | Corruption

INTERFACES = {"INPUT": ("-i", "eth0"), "OUTPUT": ("-o", "eth0")}
"""The chains that packets to and from a pod pass, and how a rule there says that it is for eth0."""
CHAINS = {"both": tuple(INTERFACES), "to": ("INPUT",), "from": ("OUTPUT",)}
"""Where the packets pass that a partition of this direction loses."""

LOCK_S = 5
"""How long iptables waits for another one on the node, such as kube-proxy's."""


@dataclass(frozen=True, slots=True)
class NodeChange:
    """A command that changes something on a node, and the one that takes it back."""

    do: tuple[str, ...]
    undo: tuple[str, ...]


def changes(fault: NodeNetworkFault, network: str, peer: str, mark: str) -> list[NodeChange]:
    """Return what makes the fault act on the pod with this network namespace.

    `peer` is the node's end of the pod's link; `mark` is the comment of each rule of iptables.
    """

    def rule(chain: str, *what: str) -> NodeChange:
        return _rule([chain, *INTERFACES[chain], *what, "-m", "comment", "--comment", mark], network)

    match fault:
        case Partition(direction=direction):
            return [rule(chain, "-j", "DROP") for chain in CHAINS[direction]]
        case Stall(ports=ports):
            # A client gets an answer to its SYN, and considers the connection established.
            greeting = ("--tcp-flags", "SYN", "NONE", "-j", "DROP")
            sides = {"INPUT": "--dports", "OUTPUT": "--sports"}
            return [rule(chain, *_tcp(side, ports), *greeting) for chain, side in sides.items()]
        case PortsBlocked(ports=ports):
            return [rule("INPUT", *_tcp("--dports", ports), "-j", "REJECT", "--reject-with", "tcp-reset")]
        case PacketLoss(fraction=fraction):
            chance = ("-m", "statistic", "--mode", "random", "--probability", f"{fraction:g}")
            return [rule(chain, *chance, "-j", "DROP") for chain in INTERFACES]
        case Bandwidth(bytes_per_s=bytes_per_s):
            rate = ("rate", f"{round(8 * bytes_per_s)}bit", "burst", f"{BURST_BYTES}b")
            return [_qdisc("eth0", "tbf", *rate, "limit", f"{QUEUE_BYTES}b", network=network)]
        case Latency(delay_s=delay_s, jitter_s=jitter_s, correlation=correlation):
            jitter = (f"{1000 * jitter_s:g}ms", _percent(correlation)) if jitter_s else ()
            return _both_ends(network, peer, "delay", f"{1000 * delay_s:g}ms", *jitter)
        case Corruption(fraction=fraction, correlation=correlation):
            return _both_ends(network, peer, "corrupt", _percent(fraction), _percent(correlation))


def counters(network: str, chain: str) -> tuple[str, ...]:
    """Return the command that lists the rules of a chain, with how many packets they hit."""
    return (*_inside(network), "iptables", "-w", str(LOCK_S), "-nvxL", chain)


def hits(listed: str, mark: str) -> int:
    """Read from such a list how many packets the marked rules hit."""
    return sum(int(line.split()[0]) for line in listed.splitlines() if f"/* {mark} */" in line)


def connections(ports: Sequence[int], network: str = "", *, reset: bool = False) -> tuple[str, ...]:
    """Return the command that lists the open connections to these ports, one a line, and may reset them.

    The ports are those of a network namespace, or of the node itself.
    """
    options = (*(["--kill"] if reset else []), "--tcp", "--no-header", "--numeric")
    which = " or ".join(f"sport = :{port}" for port in ports)
    return (*_inside(network), "ss", *options, "state", "established", f"( {which} )")


def refusal(port: int, mark: str) -> NodeChange:
    """Return what makes a node refuse every connection to this port of its own."""
    rule = ("INPUT", "-p", "tcp", "--dport", str(port), "-j", "REJECT", "--reject-with", "tcp-reset")
    return _rule([*rule, "-m", "comment", "--comment", mark])


def statistics(network: str) -> tuple[str, ...]:
    """Return the command that shows what TCP counted in a network namespace."""
    return (*_inside(network), "cat", "/proc/net/snmp")


def retransmitted(shown: str) -> int:
    """Read from that how many segments were sent again."""
    names, values = (line.split() for line in shown.splitlines() if line.startswith("Tcp:"))
    return int(dict(zip(names, values, strict=True))["RetransSegs"])


def _inside(network: str) -> tuple[str, ...]:
    return ("nsenter", f"--net={network}") if network else ()


def _rule(rule: Sequence[str], network: str = "") -> NodeChange:
    iptables = (*_inside(network), "iptables", "-w", str(LOCK_S))
    return NodeChange(do=(*iptables, "-I", *rule), undo=(*iptables, "-D", *rule))


def _tcp(side: str, ports: Sequence[PortName]) -> tuple[str, ...]:
    return "-p", "tcp", "-m", "multiport", side, ",".join(str(PORT_NUMBERS[port]) for port in ports)


def _both_ends(network: str, peer: str, *netem: str) -> list[NodeChange]:
    return [_qdisc("eth0", "netem", *netem, network=network), _qdisc(peer, "netem", *netem)]


def _qdisc(device: str, *what: str, network: str = "") -> NodeChange:
    tc = (*_inside(network), "tc", "qdisc")
    where = ("dev", device, "root")
    return NodeChange(do=(*tc, "add", *where, *what), undo=(*tc, "del", *where))


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g}%"
