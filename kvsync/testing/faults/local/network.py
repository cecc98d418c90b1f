"""Network faults of a local pod: its fault proxy misbehaves, seen by talking through it and past it."""

from collections.abc import Iterator, Mapping
from functools import partial

from kvsync.testing.clusters.cluster import PORTS, PortName
from kvsync.testing.clusters.local.fault_proxy import CLEAR, SILENT, Direction, Rules
from kvsync.testing.clusters.local.pod import LocalPod
from kvsync.testing.faults import effects
from kvsync.testing.faults.fault import (
    Bandwidth,
    Corruption,
    Cut,
    HttpDelay,
    Latency,
    Partition,
    PortsBlocked,
    Stall,
)
from kvsync.testing.faults.holding import Effect

LocalNetworkFault = Partition | Stall | Latency | Bandwidth | Corruption | PortsBlocked | HttpDelay

WAYS: Mapping[str, frozenset[Direction]] = {
    "both": SILENT.stall,
    "to": frozenset({"up"}),
    "from": frozenset({"down"}),
}
"""The directions of a partition as the proxy calls them: up is the way to the pod."""
TIMEOUT_S = 10.0
"""For what is timed; far above any delay that is asked for."""


def rules(fault: LocalNetworkFault) -> Rules:
    """Return what the proxy does to the ports of the fault."""
    match fault:
        case Partition(direction=direction):
            return Rules(stall=WAYS[direction])
        case Stall():
            return SILENT
        case Latency(delay_s=delay_s, jitter_s=jitter_s):
            return Rules(delay_s=delay_s, jitter_s=jitter_s)
        case Bandwidth(bytes_per_s=bytes_per_s):
            return Rules(bytes_per_s=bytes_per_s)
        case Corruption(fraction=fraction):
            return Rules(corrupt=fraction)
        case PortsBlocked():
            return Rules(refuse=True)
        case HttpDelay(delay_s=delay_s):
            return Rules(delay_s=delay_s / 2)  # each way


def ports(fault: LocalNetworkFault) -> tuple[PortName, ...]:
    """Return the ports that the fault is about."""
    match fault:
        case Stall() | Latency() | PortsBlocked():
            return fault.ports
        case Corruption():
            return ("events",)
        case HttpDelay():
            return ("http",)
        case Partition() | Bandwidth():
            return PORTS


class ProxyFault:
    """The proxy has other rules while the fault acts."""

    def __init__(self, pod: LocalPod, fault: LocalNetworkFault, numbers: Iterator[int]) -> None:
        self._pod, self._fault, self._numbers = pod, fault, numbers
        self._acting = False
        self._corrupted = 0  # before it acted

    def inject(self) -> None:
        """Put the rules of the fault in force."""
        self._acting, self._corrupted = True, self._pod.listener("events").counters().corrupted
        self._pod.apply(rules(self._fault), ports(self._fault))
        if isinstance(self._fault, PortsBlocked):
            self._pod.cut({*self._fault.ports, "events"})

    def recover(self) -> None:
        """Put no rules in force."""
        self._acting = False
        self._pod.apply(CLEAR, ports(self._fault))

    def measure(self) -> Effect:
        """Talk to the pod."""
        match self._fault:
            case Partition(direction=direction):
                return self._divided(WAYS[direction])
            case Stall():
                return self._saying(effects.SILENT)
            case PortsBlocked():
                return self._saying(effects.REFUSED)
            case Latency(delay_s=delay_s, ports=ports):
                return self._late("http", 2 * delay_s) if "http" in ports else self._late(ports[0], delay_s)
            case HttpDelay(delay_s=delay_s):
                return self._late("http", delay_s)
            case Bandwidth(bytes_per_s=bytes_per_s):
                return effects.narrow(self._pod.handle, bytes_per_s)
            case Corruption():
                return self._corrupting()

    def _divided(self, expected: frozenset[Direction]) -> Effect:
        http, events = self._pod.listener("http"), self._pod.listener("events")
        passed = http.counters().passed_bytes["up"]
        request = effects.ask(self._pod.handle.url)
        comes_in = http.counters().passed_bytes["up"] > passed
        comes_out = effects.knock(events.host, events.port) == effects.ANSWERED  # greeted without being asked
        lost = {way for way, passes in (("up", comes_in), ("down", comes_out)) if not passes}
        evidence = f"a request is {request}; {_open(comes_in)} to the pod, {_open(comes_out)} from it"
        if self._acting:
            return Effect(lost == expected and request == effects.SILENT, evidence)
        return Effect(bool(lost) or request != effects.ANSWERED, evidence)

    def _saying(self, expected: str) -> Effect:
        said = {port: say(self._pod, port) for port in ports(self._fault)}
        if self._acting:
            return effects.saying(said, dict.fromkeys(said, expected))
        return effects.unanswered(said)

    def _late(self, port: PortName, added_s: float) -> Effect:
        """Compare a request, or for other ports the greeting, with one past the proxy."""
        listener, direct = self._pod.listener(port), self._pod.direct(port)
        if port == "http":
            rise_s = effects.health_s(self._pod.handle.url) - effects.health_s(self._pod.direct_url)
        else:
            near = partial(effects.knock, listener.host, listener.port, TIMEOUT_S)
            far = partial(effects.knock, *direct, TIMEOUT_S)
            rise_s = effects.round_trip_s(near) - effects.round_trip_s(far)
        evidence = f"an answer on the {port} port takes {1000 * rise_s:.0f} ms longer than past the proxy"
        return Effect(rise_s >= added_s / 2, evidence)  # jitter and a busy machine blur the rest

    def _corrupting(self) -> Effect:
        listener = self._pod.listener("events")
        # While it acts, all since then: a reader whose handshake was damaged is away for a while.
        before = self._corrupted if self._acting else listener.counters().corrupted
        effects.publish(self._pod.direct_url, self._pod.model, self._numbers)
        corrupted = listener.counters().corrupted - before
        return Effect(corrupted > 0, f"{corrupted} pieces of the events connection corrupted")


class LocalCut:
    """The connections that are open at one moment are reset."""

    def __init__(self, pod: LocalPod, fault: Cut) -> None:
        self._pod, self._ports = pod, fault.ports
        self._before: int | None = None  # connections reset before; None unless they were cut

    def inject(self) -> None:
        """Reset them."""
        self._before = self._resets()
        self._pod.cut(self._ports)

    def recover(self) -> None:
        """Do nothing: new ones are accepted all the time."""
        self._before = None

    def measure(self) -> Effect:
        """Count resets, or see whether new connections are answered."""
        if self._before is not None:
            resets = self._resets() - self._before
            return Effect(resets > 0, f"{resets} connections reset")
        return effects.unanswered({port: say(self._pod, port) for port in self._ports})

    def _resets(self) -> int:
        return sum(self._pod.listener(port).counters().cut for port in self._ports)


def say(pod: LocalPod, port: PortName) -> str:
    """Say in words what a client of one of the pod's ports gets."""
    if port == "http":
        return effects.ask(pod.handle.url)
    listener = pod.listener(port)
    return effects.knock(listener.host, listener.port)


def _open(passes: bool) -> str:
    return "the way is open" if passes else "nothing passes"
