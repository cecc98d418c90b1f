"""Faults of the processes of a service: killed, asked to end, stopped, and started again."""

from kvsync.ci.chaos.asking import accepts, ask
from kvsync.ci.services.running_service import RunningService
from kvsync.ci.services.server import ServerProcess
from kvsync.testing.faults.effects import ANSWERED, REFUSED, SILENT
from kvsync.testing.faults.holding import Effect
from kvsync.testing.results.verdicts import NotRun


class ProcessAsked:
    """The process of a service, asked past any proxy."""

    def __init__(self, name: str, service: RunningService) -> None:
        if service.server is None:
            raise NotRun(
                f"{name} is {service.source}, whose processes are not the pipeline's: let it have a server "
                "of its own, or choose a fault of the network"
            )
        self.server: ServerProcess = service.server
        self._hello = service.hello(0)
        self._address = service.listener.target if service.listener else service.address

    def said(self) -> str:
        """Say in words what a request gets."""
        if self._hello:
            return ask(self._address, self._hello).words
        return ANSWERED if accepts(self._address) else REFUSED

    def heard(self, said: str) -> str:
        """Write what a request got; of a server that says nothing, a connection."""
        if self._hello:
            return f"a request is {said}"
        return f"a connection is {'accepted' if said == ANSWERED else said}"

    @property
    def at_rest(self) -> str:
        """What a request gets while it is stopped: of a server that says nothing, a connection."""
        return SILENT if self._hello else ANSWERED

    @property
    def state(self) -> str:
        """What the process does."""
        server = self.server
        does = "is stopped" if server.is_paused else "runs" if server.is_running else "is gone"
        return f"process {server.pid} {does}"


class Ended:
    """Its process is killed, or asked to end, and started again at once."""

    def __init__(self, process: ProcessAsked, *, is_asked: bool) -> None:
        self._process, self._is_asked = process, is_asked
        self._before: int | None = None  # its process then; None unless it was ended

    def inject(self) -> None:
        """See Injection."""
        server = self._process.server
        self._before = server.pid
        if self._is_asked:
            server.end()
        else:
            server.kill()
        server.start()

    def recover(self) -> None:
        """See Injection."""
        self._before = None

    def measure(self) -> Effect:
        """See Injection."""
        server = self._process.server
        if self._before is None:
            said = self._process.said()
            return Effect(said != ANSWERED, f"{self._process.state}, {self._process.heard(said)}")
        return Effect(server.pid != self._before, f"process {server.pid} after {self._before}")


class Down:
    """Its process is killed, and started again when the fault is taken back."""

    def __init__(self, process: ProcessAsked) -> None:
        self._process, self._acting = process, False

    def inject(self) -> None:
        """See Injection."""
        self._acting = True
        self._process.server.kill()

    def recover(self) -> None:
        """See Injection."""
        if self._acting:
            self._process.server.start()
        self._acting = False

    def measure(self) -> Effect:
        """See Injection."""
        said = self._process.said()
        shows = not self._process.server.is_running and said == REFUSED
        return Effect(
            shows if self._acting else said != ANSWERED, f"{self._process.state}, {self._process.heard(said)}"
        )


class Paused:
    """Its processes are stopped where they are. Raises NotRun where they cannot be."""

    def __init__(self, process: ProcessAsked) -> None:
        if why := process.server.cannot_pause:
            raise NotRun(why)
        self._process, self._acting = process, False

    def inject(self) -> None:
        """See Injection."""
        self._acting = True
        self._process.server.pause()

    def recover(self) -> None:
        """See Injection."""
        if self._acting:
            self._process.server.resume()
        self._acting = False

    def measure(self) -> Effect:
        """See Injection."""
        said, is_paused = self._process.said(), self._process.server.is_paused
        shows = is_paused and said == self._process.at_rest
        present = shows if self._acting else is_paused or said != ANSWERED
        return Effect(present, f"{self._process.state}, {self._process.heard(said)}")
