"""A service in a pod of the run's cluster, at a port of this machine's loopback.

A process of this machine creates the pod, leads the port to it and prints what it writes (see client), so
that it is watched and logged as a container is. What is left of a killed run goes with the namespace.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kvsync.ci.services.pods.task import VARIABLE, PodTask
from kvsync.ci.services.server import GRACE_S, ServerCommand
from kvsync.testing.processes.tools import ON_PATH, kubectl

GONE_S = 60.0
"""For a pod to be gone, besides its grace, on a busy cluster."""


@contextmanager
def pod(task: PodTask) -> Iterator["PodHost"]:
    """Give a pod that is to run in the foreground; it is gone afterwards, however that ended."""
    host = PodHost(task)
    try:
        yield host
    finally:
        host.kill(0)


@dataclass(frozen=True, slots=True)
class PodHost:
    """The pod of a service, which is empty whenever it starts. A Control, through the API server."""

    task: PodTask = field(repr=False)

    @property
    def source(self) -> str:
        """Where it is, and of which image."""
        return f"pod {self.task.namespace}/{self.task.service.name}, image {self.task.service.image}"

    def server(self, answer: Callable[[], str], *, grace_s: float = GRACE_S) -> ServerCommand:
        """Return the command of the server in it."""
        argv, env = [sys.executable, "-m", "kvsync.ci.services.pods.client"], {VARIABLE: self.task.write()}
        return ServerCommand(argv=argv, answer=answer, env=env, grace_s=grace_s, control=self)

    @property
    def cannot_pause(self) -> str:
        """See Control."""
        return (
            f"{self.task.service.name} is {self.source}, whose processes cannot be stopped from here: choose "
            "`partition`, which looks the same to its clients, or `down`"
        )

    def ask_to_end(self, pid: int, grace_s: float) -> None:
        """See Control; its process here ends when the pod has."""
        self._delete(f"--grace-period={max(1, round(grace_s))}")

    def kill(self, pid: int) -> None:
        """See Control."""
        self._delete("--grace-period=0", "--force")

    def pause(self, pid: int) -> None:
        """See Control: they cannot be."""

    def resume(self, pid: int) -> None:
        """See Control: none is ever paused."""

    def is_paused(self, pid: int) -> bool:
        """See Control."""
        return False

    def clear(self) -> None:
        """See Control: none can be stopped."""

    def _delete(self, *options: str) -> None:
        machine, where = self.task.machine, f"--namespace={self.task.namespace}"
        words = ("delete", "pod", self.task.service.name, where, "--ignore-not-found", *options)
        ON_PATH.ask(*kubectl(machine.kubeconfig, machine.context, *words), timeout_s=GONE_S)
