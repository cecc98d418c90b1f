"""Faults of pods on Kubernetes that are found by their labels, through the injectors of the test kit.

A pod is deleted by the API server, its network cut by rules on the nodes of a Kind cluster, and everything
else done by Chaos Mesh, where it is installed. Effects are measured by requests through the API server.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import urllib3
from kubernetes.client import ApiException

from kvsync.ci.project.chaos_stage import PodSelector
from kvsync.testing.clusters.cluster import PodHandle, PortName
from kvsync.testing.clusters.kubernetes.api import KubernetesApi, PodState
from kvsync.testing.clusters.kubernetes.api_errors import Forbidden, failures, is_forbidden, message
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.errors import ClusterError, WaitTimeout
from kvsync.testing.faults import effects
from kvsync.testing.faults.chaosmesh.injector import ChaosMeshInjector
from kvsync.testing.faults.chaosmesh.manifest import impossible
from kvsync.testing.faults.fault import Fault, Latency, Partition, PodFailure, PodKill, name_of
from kvsync.testing.faults.holding import PROOF_TIMEOUT_S, Effect, Injection
from kvsync.testing.faults.node.network import RuleFault
from kvsync.testing.faults.node.node import Node
from kvsync.testing.faults.node.pod import unwell
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import History
from kvsync.testing.results.verdicts import NotRun

UNREACHED = (502, 503, 504)
"""How the API server answers when a pod does not; a pod's own answer of these says nothing else."""


@contextmanager
def rights_needed() -> Iterator[None]:
    """Turn a right that is lacking into a NotRun: nothing was done, and the cluster's owner can mend it."""
    try:
        yield
    except Forbidden as exc:
        raise NotRun(f"{exc}; give the user of the kubeconfig this right") from exc


class SelectedPod:
    """A pod, as it is asked through the API server. Raises NotRun for one that declares no port."""

    def __init__(self, api: KubernetesApi, namespace: str, name: str) -> None:
        self._api, self._namespace, self.name = api, namespace, name
        with failures(f"read pod {name}"):
            found: Any = api.core.read_namespaced_pod(name, namespace)
        ports = [port for each in found.spec.containers for port in each.ports or ()]
        tcp = [port.container_port for port in ports if port.protocol in (None, "TCP")]
        if not tcp:
            raise NotRun(
                f"pod {name} declares no port, by which an effect could be measured; add `ports` to its "
                "container"
            )
        self._port, self.uid = tcp[0], found.metadata.uid

    def state(self) -> PodState | None:
        """Return the pod as Kubernetes sees it now; None if it is gone."""
        labels = ""
        return next((each for each in self._api.pods(self._namespace, labels) if each.uid == self.uid), None)

    def say(self, port: PortName = "http") -> str:
        """Say in words what a request to its first port gets."""
        return self.timed()[0]

    def timed(self, timeout_s: float = effects.SILENCE_S) -> tuple[str, float]:
        """Say the same, and how long that took."""
        began = time.monotonic()
        words = effects.ANSWERED
        try:
            self._api.core.connect_get_namespaced_pod_proxy(
                f"{self.name}:{self._port}", self._namespace, _request_timeout=timeout_s
            )
        except ApiException as exc:
            if is_forbidden(exc):
                raise NotRun(f"cannot ask pod {self.name}: {message(exc)}") from exc
            if exc.status in UNREACHED:
                words = effects.REFUSED if "connection refused" in (exc.body or "") else message(exc)
        except urllib3.exceptions.TimeoutError:
            words = effects.SILENT
        except urllib3.exceptions.MaxRetryError as exc:
            words = effects.SILENT if "timed out" in str(exc) else str(exc.reason)
        return words, time.monotonic() - began

    def unwell(self, *_: PortName) -> Effect:
        """Measure whether it is not answered, or Kubernetes does not find it ready."""
        state = self.state()
        return unwell({"http": self.say()}, state is not None and state.ready)


class NodeSelectedPod(SelectedPod):
    """A pod of a Kind cluster, whose node can be entered."""

    def __init__(self, api: KubernetesApi, namespace: str, name: str) -> None:
        super().__init__(api, namespace, name)
        state = self.state()
        pid = Node(state.node).main_pid(state.container_id) if state else None
        if state is None or pid is None:
            raise ClusterError(f"pod {name} does not run")
        self.node = Node(state.node)
        self.network = self.node.network_of(pid)

    @property
    def peer(self) -> str:
        """The node's end of the pod's link."""
        return self.node.peer_of(self.network)

    @property
    def handle(self) -> PodHandle:
        """Where the API server has it."""
        host = self._api.client.configuration.host
        url = f"{host}/api/v1/namespaces/{self._namespace}/pods/{self.name}:{self._port}/proxy"
        return PodHandle(name=self.name, model="", url=url, admin_url=url)

    def reset(self, ports: Iterable[PortName]) -> int:
        """Reset the open connections to its first port."""
        return self.node.reset([self._port], self.network)


class PodInjector:
    """An Injector for the pods of a selector; `check` raises when there is no time for a measurement.

    `patience_s`: for how long a pod that is not ready is waited for.
    """

    def __init__(
        self,
        machine: Machine,
        selector: PodSelector,
        ledger: Ledger,
        history: History,
        check: Callable[[], None],
        patience_s: float = PROOF_TIMEOUT_S,
    ) -> None:
        self._patience_s = patience_s
        self._machine, self._selector, self._ledger, self._history = machine, selector, ledger, history
        self._check, self._api = check, KubernetesApi(machine)

    def victim(self) -> str:
        """Return the name of the oldest pod that is ready.

        One that is there, such as what an earlier fault ended, is waited for. Raises NotRun without one.
        """
        where = f"{self._selector.selector} in the namespace {self._selector.namespace}"
        seen: list[PodState] = []

        def ready() -> str | None:
            nonlocal seen
            self._check()
            if not (seen := self.pods()):
                raise NotRun(f"there is no pod with {where}; start it, or mend the selector or the namespace")
            return next((each.name for each in seen if each.ready), None)

        try:
            with rights_needed():
                return wait_for(ready, what="a pod is ready", timeout_s=self._patience_s, interval_s=0.2)
        except WaitTimeout as exc:
            states = ", ".join(f"{each.name} ({each.trouble or each.phase})" for each in seen)
            raise NotRun(f"no pod with {where} is ready after {self._patience_s:g} s: {states}") from exc

    def pods(self) -> list[PodState]:
        """Return the pods that are selected, the oldest first; not those that ended for good."""
        found = self._api.pods(self._selector.namespace, self._selector.selector)
        return [each for each in found if not each.is_over]

    @staticmethod
    def impossible(fault: Fault) -> str:
        """See Injector."""
        if isinstance(fault, PodKill):
            return ""
        if isinstance(fault, Partition | Latency | PodFailure):
            return impossible(fault)
        return f"{name_of(fault)} of a pod that is only known by its labels cannot be proved"

    def prepare(self, fault: Fault) -> Injection:
        """See Injector."""
        if reason := self.impossible(fault):
            raise NotRun(reason)
        with rights_needed():
            return self._prepared(fault)

    def _prepared(self, fault: Fault) -> Injection:
        namespace = self._selector.namespace
        if isinstance(fault, PodKill):
            return _Deleted(self, self._api, namespace, fault.pod, self._check)
        if isinstance(fault, Partition) and self._machine.kind:
            return RuleFault(NodeSelectedPod(self._api, namespace, fault.pod), fault, self._ledger)
        pod = SelectedPod(self._api, namespace, fault.pod)
        mesh = ChaosMeshInjector(
            client=self._api.client,
            namespace=namespace,
            machine=self._machine,
            ledger=self._ledger,
            history=self._history,
            observe=lambda fault: _Observed(pod, fault, self._check).measure,
        )
        return mesh.prepare(fault)


class _Deleted:
    """A pod is deleted without grace, and what keeps the number of pods starts another in its place."""

    def __init__(
        self, pods: PodInjector, api: KubernetesApi, namespace: str, name: str, check: Callable[[], None]
    ) -> None:
        self._pods, self._api, self._namespace, self._name, self._check = pods, api, namespace, name, check
        self._before, self._acting = self._there(), False

    def inject(self) -> None:
        """See Injection."""
        self._before = self._there()
        with rights_needed():
            self._api.delete_pod(self._namespace, self._name, grace_s=0)
        self._acting = True

    def recover(self) -> None:
        """See Injection."""
        self._acting = False

    def measure(self) -> Effect:
        """See Injection."""
        self._check()
        pods = self._there()
        if not self._acting:
            ready = sum(each.ready for each in pods.values())
            wanted = sum(not each.deleting for each in self._before.values())
            return Effect(ready < wanted, f"{ready} of {wanted} pods are ready")
        gone = all(each.name != self._name or uid not in self._before for uid, each in pods.items())
        came = ", ".join(sorted(each.name for uid, each in pods.items() if uid not in self._before))
        evidence = f"{self._name} {'is gone' if gone else 'is there'}, {came or 'none'} came"
        return Effect(gone and bool(came), evidence)

    def _there(self) -> dict[str, PodState]:
        return {each.uid: each for each in self._pods.pods()}


class _Observed:
    """What a fault of Chaos Mesh does to a pod, compared with how it was before."""

    def __init__(self, pod: SelectedPod, fault: Fault, check: Callable[[], None]) -> None:
        self._pod, self._fault, self._check = pod, fault, check
        self._took_s = self._quickest_s()

    def measure(self, *, acting: bool) -> Effect:
        """See Measure."""
        self._check()
        if isinstance(self._fault, Latency):
            rise_s = self._quickest_s() - self._took_s
            return Effect(rise_s >= self._fault.delay_s / 2, f"an answer takes {1000 * rise_s:.0f} ms longer")
        if not acting:
            return self._pod.unwell()
        said = self._pod.say()
        return Effect(said != effects.ANSWERED, f"a request is {said}")

    def _quickest_s(self) -> float:
        return min(self._pod.timed(10.0)[1] for _ in range(effects.ROUND_TRIPS))
