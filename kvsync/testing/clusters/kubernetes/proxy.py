"""Plain HTTP from here to the pods and services of a run in a Kubernetes cluster, through its API server.

`kubectl proxy` listens on a loopback address and adds the user's credentials. So tests reach pods in any
cluster that the user can reach, wherever its network is, and no address of it needs a route to here. Every
user of this machine can connect to it, so it leads nowhere else.
"""

import re
from pathlib import Path

from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.errors import InfrastructureError, WaitTimeout
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.lifeline import LIFELINE
from kvsync.testing.processes.program import Program, ProgramEnded
from kvsync.testing.processes.tools import kubectl
from kvsync.testing.processes.wait import wait_for

START_TIMEOUT_S = 30.0

GOES_BACK = r"(^|/)\.\.(/|$)"
"""kubectl reads paths decoded, but passes %2e%2e on as it is."""
USELESS = "^(DELETE|PATCH)$"
"""Methods that neither pods nor gateways know."""

_LISTENING = re.compile(r"Starting to serve on (\S+)")


class KubernetesProxy:
    """A running `kubectl proxy`, for namespaces whose names begin with `namespaces`.

    Raises InfrastructureError when it does not start.
    """

    def __init__(self, machine: Machine, *, namespaces: str, log: Path, ledger: Ledger) -> None:
        accepted = f"^/api/v1/namespaces/{re.escape(namespaces)}[^/]*/(pods|services)/[^/]+/proxy(/|$)"
        rules = (f"--accept-paths={accepted}", f"--reject-paths={GOES_BACK}", f"--reject-methods={USELESS}")
        argv = kubectl(machine.kubeconfig, machine.context, "proxy", "--port=0", *rules)
        self._program = Program("kubectl proxy", [*LIFELINE, *argv], log=log, ledger=ledger)
        try:
            match = wait_for(self._listening, what="kubectl proxy listens", timeout_s=START_TIMEOUT_S)
        except WaitTimeout as exc:
            self._program.stop()
            raise InfrastructureError(f"{exc}: {self._program.tail()}") from exc
        self.url = f"http://{match[1]}"

    def pod(self, namespace: str, name: str, port: int) -> str:
        """Return the base URL of one port of a pod."""
        return f"{self.url}/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy"

    def service(self, namespace: str, name: str, port: int) -> str:
        """Return the base URL of one port of a service: some ready pod of it answers."""
        return f"{self.url}/api/v1/namespaces/{namespace}/services/{name}:{port}/proxy"

    def close(self) -> None:
        """End it. Raises InfrastructureError when it had ended before: pods could not be reached then."""
        try:
            self._program.stop()
        except ProgramEnded as exc:
            raise InfrastructureError(str(exc)) from exc

    def _listening(self) -> re.Match[str] | None:
        if not self._program.is_running:
            raise InfrastructureError(f"kubectl proxy ended: {self._program.tail()}")
        return _LISTENING.search(self._program.tail())
