"""Network faults of a service: the proxy in front of it misbehaves, seen by asking through it and past it."""

from kvsync.ci.chaos.asking import Heard, ask
from kvsync.ci.services.running_service import RunningService
from kvsync.testing.clusters.local.fault_proxy import CLEAR, Listener
from kvsync.testing.faults.effects import ANSWERED, REFUSED, ROUND_TRIPS, SILENCE_S, SILENT, STIMULI
from kvsync.testing.faults.fault import (
    Bandwidth,
    Corruption,
    HttpDelay,
    Latency,
    Partition,
    PortsBlocked,
    Stall,
)
from kvsync.testing.faults.holding import Effect
from kvsync.testing.faults.local.network import TIMEOUT_S, LocalNetworkFault, rules
from kvsync.testing.results.verdicts import NotRun

BULK_S = 0.3
"""How long what a narrow link is measured with takes to pass it."""
LEAST_BULK, MOST_BULK = 4 * 1024, 1024 * 1024


class ServiceAsked:
    """A service that is reached through a listener, asked through it and past it."""

    def __init__(self, name: str, service: RunningService) -> None:
        if service.listener is None:
            raise NotRun(
                f"{name} is reached by TLS at {service.fields['host']}, which knows no proxy's name: network "
                "faults need an address without TLS, or a server that the pipeline starts"
            )
        self.listener: Listener = service.listener
        self._service = service
        if not service.hello(0) and self.far().words == SILENT:
            raise NotRun(
                f"{name} says nothing by which a fault could be proved; let it answer HTTP, with "
                'ready = "{url}/..." in stages.toml'
            )

    def near(self, size: int = 0, timeout_s: float = SILENCE_S) -> Heard:
        """Ask through the proxy, with a request of about this size."""
        return ask((self.listener.host, self.listener.port), self._service.hello(size), timeout_s)

    def far(self, size: int = 0, timeout_s: float = SILENCE_S) -> Heard:
        """Ask past it."""
        return ask(self.listener.target, self._service.hello(size), timeout_s)

    def length(self, size: int) -> int:
        """Return how many bytes such a request has."""
        return len(self._service.hello(size))

    def rise_s(self, size: int = 0) -> float:
        """Return how much longer an answer takes than past the proxy: the quickest of a few, of both."""
        near, far = (
            min(each(size, TIMEOUT_S).took_s for _ in range(ROUND_TRIPS)) for each in (self.near, self.far)
        )
        return near - far


class ListenerFault:
    """The proxy has other rules while the fault acts."""

    def __init__(self, asked: ServiceAsked, fault: LocalNetworkFault) -> None:
        self._asked, self._fault, self._acting = asked, fault, False

    def inject(self) -> None:
        """See Injection."""
        self._acting = True
        self._asked.listener.apply(rules(self._fault))
        if isinstance(self._fault, PortsBlocked):
            self._asked.listener.cut()

    def recover(self) -> None:
        """See Injection."""
        self._acting = False
        self._asked.listener.apply(CLEAR)

    def measure(self) -> Effect:
        """See Injection."""
        match self._fault:
            case Partition(direction=direction):
                return self._divided(passes_to=direction == "from")
            case Stall():
                return self._saying(SILENT)
            case PortsBlocked():
                return self._saying(REFUSED)
            case Latency(delay_s=delay_s):
                return self._late(2 * delay_s)
            case HttpDelay(delay_s=delay_s):
                return self._late(delay_s)
            case Bandwidth(bytes_per_s=bytes_per_s):
                return self._narrow(bytes_per_s)
            case Corruption():
                return self._corrupting()

    def _divided(self, *, passes_to: bool) -> Effect:
        passed = self._asked.listener.counters().passed_bytes["up"]
        said = self._asked.near().words
        comes_in = self._asked.listener.counters().passed_bytes["up"] > passed
        evidence = f"a request is {said}; {'the way is open' if comes_in else 'nothing passes'} to it"
        if self._acting:
            return Effect(said == SILENT and comes_in is passes_to, evidence)
        return Effect(said != ANSWERED, evidence)

    def _saying(self, expected: str) -> Effect:
        said = self._asked.near().words
        return Effect(said == expected if self._acting else said != ANSWERED, f"a request is {said}")

    def _late(self, added_s: float) -> Effect:
        rise_s = self._asked.rise_s()
        evidence = f"an answer takes {1000 * rise_s:.0f} ms longer than past the proxy"
        return Effect(rise_s >= added_s / 2, evidence)  # jitter and a busy machine blur the rest

    def _narrow(self, bytes_per_s: float) -> Effect:
        size = min(max(round(BULK_S * bytes_per_s), LEAST_BULK), MOST_BULK)
        sent = self._asked.length(size)
        rise_s = self._asked.rise_s(size)
        evidence = f"{sent >> 10} KiB take {1000 * rise_s:.0f} ms longer than past the proxy"
        return Effect(rise_s >= 0.5 * sent / bytes_per_s, evidence)

    def _corrupting(self) -> Effect:
        before = self._asked.listener.counters().corrupted
        for _ in range(STIMULI):
            self._asked.near()
        corrupted = self._asked.listener.counters().corrupted - before
        return Effect(corrupted > 0, f"{corrupted} pieces of its connections corrupted")


class ServiceCut:
    """The connections that are open at one moment are reset."""

    def __init__(self, asked: ServiceAsked) -> None:
        self._asked = asked
        self._before: int | None = None  # connections reset before; None unless they were cut

    def inject(self) -> None:
        """See Injection."""
        self._before = self._asked.listener.counters().cut
        self._asked.listener.cut()

    def recover(self) -> None:
        """See Injection."""
        self._before = None

    def measure(self) -> Effect:
        """See Injection."""
        if self._before is None:
            said = self._asked.near().words
            return Effect(said != ANSWERED, f"a request is {said}")
        resets = self._asked.listener.counters().cut - self._before
        return Effect(resets > 0, f"{resets} connections reset")
