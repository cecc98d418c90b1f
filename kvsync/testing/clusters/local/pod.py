"""A pod on this machine: a simulator process behind the fault proxy.

Clients and the gateway know it by its front address, where the proxy listens; the engine listens on another
one behind it. So every byte to and from the pod can be disturbed, it can come back at the same address, and
it has a new one after a move.
"""

from collections.abc import Callable, Collection

from kvsync.pods import Pod
from kvsync.testing.clusters.cluster import PORTS, PodHandle, PortName
from kvsync.testing.clusters.endpoints import answers
from kvsync.testing.clusters.local.addresses import Address, LoopbackBlock
from kvsync.testing.clusters.local.fault_proxy import CLEAR, FaultProxy, Listener, Rules
from kvsync.testing.errors import ClusterError, WaitTimeout
from kvsync.testing.processes.program import Program, ProgramEnded
from kvsync.testing.processes.wait import wait_for

READY_TIMEOUT_S = 60.0
"""For a start on a machine that is busy with other starts; alone it takes a second."""

Launch = Callable[[str, str, Address], Program]
"""Starts the engine of the pod with this name and model on this address."""


class LocalPod:
    """One pod; its engine is another process after each restart. Not started when made."""

    def __init__(
        self, name: str, model: str, *, addresses: LoopbackBlock, proxy: FaultProxy, launch: Launch
    ) -> None:
        self.name, self.model = name, model
        self._addresses, self._proxy, self._launch = addresses, proxy, launch
        self._back = addresses.next()
        self._front = addresses.next()
        self._listeners: dict[PortName, Listener] = {}
        self._program: Program | None = None

    @property
    def handle(self) -> PodHandle:
        """The pod as scenarios see it."""
        return PodHandle(
            name=self.name,
            model=self.model,
            url=f"http://{self._front.host}:{self._front.port}",
            admin_url=f"http://{self._back.host}:{self._back.admin_port}",
        )

    @property
    def direct_url(self) -> str:
        """Where the engine itself listens, past the proxy."""
        return f"http://{self._back.host}:{self._back.port}"

    def direct(self, port: PortName) -> tuple[str, int]:
        """Return the address of one of the engine's own ports, past the proxy."""
        back = self._back
        numbers: dict[PortName, int] = {
            "http": back.port,
            "events": back.event_port,
            "replay": back.replay_port,
        }
        return back.host, numbers[port]

    @property
    def listed(self) -> Pod:
        """The pod as discovery lists it."""
        return Pod(
            name=self.name,
            model=self.model,
            host=self._front.host,
            port=self._front.port,
            event_port=self._front.event_port,
            replay_port=self._front.replay_port,
        )

    @property
    def program(self) -> Program:
        """Its engine's process. Raises ClusterError before the first start."""
        if self._program is None:
            raise ClusterError(f"pod {self.name} was never started")
        return self._program

    def listener(self, port: PortName) -> Listener:
        """Return the proxy's side of one of its ports."""
        return self._listeners[port]

    def start(self) -> None:
        """Start the engine; clients are refused until it is ready."""
        if not self._listeners:
            self._listen()
        self._program = self._launch(self.name, self.model, self._back)

    def await_ready(self) -> None:
        """Wait until the engine answers, then let clients in. Raises ClusterError with the end of its log."""
        program = self.program
        try:
            wait_for(
                lambda: answers(f"{self.direct_url}/health") or not program.is_running,
                what=f"pod {self.name} is ready",
                timeout_s=READY_TIMEOUT_S,
            )
        except WaitTimeout as exc:
            raise ClusterError(f"{exc}; its log ends with:\n{program.tail()}") from exc
        try:
            program.check()
        except ProgramEnded as exc:
            raise ClusterError(f"pod {self.name} ended while starting; {exc}") from exc
        self.apply(CLEAR)

    def come_back(self) -> None:
        """Start the engine and let clients in at once; until it listens their connections are reset."""
        self.start()
        self.apply(CLEAR)

    def kill(self) -> None:
        """Kill the engine; from now on connecting is refused."""
        try:
            self.program.kill()
        finally:
            self.apply(Rules(refuse=True))
            self.cut()

    def leave(self) -> None:
        """Kill the engine and give up the address; the next start is at another one."""
        try:
            self.program.kill()
        finally:
            self._unlisten()
            self._front = self._addresses.next()

    def close(self) -> None:
        """End the engine in good order and give up the address."""
        try:
            if self._program is not None:
                self._program.stop()
        finally:
            self._unlisten()

    def apply(self, rules: Rules, ports: Collection[PortName] = PORTS) -> None:
        """Put rules in force on some of its ports."""
        for port in ports:
            self._listeners[port].apply(rules)

    def cut(self, ports: Collection[PortName] = PORTS) -> None:
        """Reset the connections to some of its ports."""
        for port in ports:
            self._listeners[port].cut()

    def _listen(self) -> None:
        front = self._front
        fronts: dict[PortName, int] = {
            "http": front.port,
            "events": front.event_port,
            "replay": front.replay_port,
        }
        for port, number in fronts.items():
            self._listeners[port] = self._proxy.listen(
                front.host, number, self.direct(port), Rules(refuse=True)
            )

    def _unlisten(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
