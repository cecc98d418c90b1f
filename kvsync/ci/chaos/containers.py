"""Faults of containers of Docker's on this machine that are not the stage's own, found by their labels."""

from collections.abc import Callable, Sequence

from kvsync.testing.errors import ClusterError
from kvsync.testing.faults.fault import ContainerKill, Fault, PodFailure, PodPause, Restart, name_of
from kvsync.testing.faults.holding import Effect, Injection
from kvsync.testing.processes.ledger import Ledger, LedgerEntry
from kvsync.testing.processes.tools import ON_PATH, Tools
from kvsync.testing.results.verdicts import NotRun

ANSWER_S = 30.0
"""For Docker to end or start a container on a busy machine."""

KIND = "container-state"
"""What the ledger calls a container that is paused or down: `undo` are docker's words that end that."""

_STATE = "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}} {{.State.StartedAt}}"


def find_container(labels: str, tools: Tools = ON_PATH) -> str:
    """Return the name of a running container with these labels, the first of them. Raises NotRun."""
    filters = [f"--filter=label={pair.strip()}" for pair in labels.replace("==", "=").split(",")]
    said = tools.ask("docker", "ps", "--format={{.Names}}", *filters, timeout_s=ANSWER_S)
    if not said.ok:
        raise NotRun(f"docker cannot be asked for containers: {said.reason}")
    if not said.lines:
        raise NotRun(f"no container with the label {labels} runs here; start it, or mend the label")
    return min(said.lines)


class ContainerInjector:
    """An Injector for containers by their names; `check` raises when there is no time for a measurement."""

    def __init__(self, ledger: Ledger, check: Callable[[], None], tools: Tools = ON_PATH) -> None:
        self._ledger, self._check, self._tools = ledger, check, tools

    @staticmethod
    def impossible(fault: Fault) -> str:
        """See Injector."""
        if isinstance(fault, ContainerKill | Restart | PodFailure | PodPause):
            return ""
        return f"{name_of(fault)} is for services of the stage, or pods: no proxy is in front of a container"

    def prepare(self, fault: Fault) -> Injection:
        """See Injector."""
        if reason := self.impossible(fault):
            raise NotRun(reason)
        return _ContainerFault(fault, self._ledger, self._check, self._tools)


class _ContainerFault:
    """One of these; `docker start` follows at once, or when the fault is taken back."""

    def __init__(self, fault: Fault, ledger: Ledger, check: Callable[[], None], tools: Tools) -> None:
        self._fault, self._ledger, self._check, self._tools = fault, ledger, check, tools
        self._before, self._acting = self._state(), False
        self._entry: LedgerEntry | None = None

    def inject(self) -> None:
        """See Injection."""
        self._before = self._state()
        match self._fault:
            case PodPause():
                self._hold("pause", undo="unpause")
            case PodFailure():
                self._hold("kill", undo="start")
            case Restart():
                self._ask("restart")
            case _:
                self._hold("kill", undo="start")
                self._undo()
        self._acting = True

    def recover(self) -> None:
        """See Injection."""
        self._acting = False
        self._undo()

    def measure(self) -> Effect:
        """See Injection."""
        self._check()
        status, health, started = now = self._state()
        evidence = f"{self._fault.pod} is {' and '.join(filter(None, [status, health]))}"
        if not self._acting:
            return Effect(status != "running" or health not in ("", "healthy"), evidence)
        match self._fault:
            case PodPause():
                return Effect(status == "paused", evidence)
            case PodFailure():
                return Effect(status == "exited", evidence)
        return Effect(started != self._before[2], f"{evidence}, started at {now[2]} after {self._before[2]}")

    def _hold(self, word: str, *, undo: str) -> None:
        self._entry = self._ledger.intend(KIND, self._fault.pod, undo=[undo])
        self._ask(word)

    def _undo(self) -> None:
        if self._entry:
            undo_container(self._entry, self._tools)
            self._ledger.released(self._entry)
            self._entry = None

    def _ask(self, word: str) -> None:
        said = self._tools.ask("docker", word, self._fault.pod, timeout_s=ANSWER_S)
        if not said.ok:
            raise ClusterError(f"docker {word} {self._fault.pod}: {said.reason}")

    def _state(self) -> tuple[str, str, str]:
        said = self._tools.ask("docker", "inspect", f"--format={_STATE}", self._fault.pod)
        if not said.ok:
            raise ClusterError(f"docker inspect {self._fault.pod}: {said.reason}")
        status, health, started = said.output.strip().split(" ")
        return status, health, started


def undo_container(entry: LedgerEntry, tools: Tools) -> bool:
    """Let a container run again; False when there was nothing to undo. Raises ClusterError."""
    words: Sequence[str] = [str(word) for word in entry.facts.get("undo", ())]  # type: ignore[attr-defined]  # a list
    said = tools.ask("docker", *words, entry.name, timeout_s=ANSWER_S)
    if said.ok:
        return True
    if any(each in said.errors for each in ("is not paused", "No such container")):
        return False
    raise ClusterError(f"docker {' '.join(words)} {entry.name}: {said.reason}")
