"""A cluster in a namespace of Kubernetes: engines and gateway are Deployments, and pods have names and
addresses of Kubernetes' choice.

Everything is reached through the API server (see proxy), so this works with any cluster.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from kvsync.errors import UnknownName
from kvsync.testing.clusters.cluster import GATEWAY, Option, PodHandle, flags
from kvsync.testing.clusters.endpoints import GatewayView, PodAdmin, answers
from kvsync.testing.clusters.evidence import MOST_PODS, Group
from kvsync.testing.clusters.kubernetes import manifests as render
from kvsync.testing.clusters.kubernetes.api import KubernetesApi, PodState
from kvsync.testing.clusters.kubernetes.api_errors import Forbidden
from kvsync.testing.clusters.kubernetes.evidence import LOG_LINES, evidence_of
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.clusters.kubernetes.manifests import (
    ADMIN_PORT,
    GATEWAY_PORT,
    HTTP_PORT,
    MODEL_LABEL,
    Manifests,
)
from kvsync.testing.clusters.kubernetes.proxy import KubernetesProxy
from kvsync.testing.errors import ClusterError, InfrastructureError, WaitTimeout
from kvsync.testing.oracle.announcements import Announcement, announcements
from kvsync.testing.processes.ledger import Ledger, LedgerEntry
from kvsync.testing.processes.tools import Tools, kubectl
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.verdicts import NotRun

ENGINES, GATEWAYS = "app=engine", "app=gateway"
INTERVAL_S = 0.5
"""How often the API server is asked while something is awaited: each time costs it a list of pods."""
LOG_CHARACTERS = 4000
GRACE_S = 5
EXECUTE_S = 30.0
END_ENGINE = ("python", "-c", "import os, signal; os.kill(1, signal.SIGTERM)")
"""Ends a container's main process; nothing inside a container can kill it with SIGKILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all clusters of a run share: the API server, the way to pods, and what is applied."""

    machine: Machine
    api: KubernetesApi
    proxy: KubernetesProxy
    manifests: Manifests
    ledger: Ledger


class KubernetesCluster:
    """A Cluster in one namespace, made by KubernetesProvider; `settings` are those of the gateway."""

    def __init__(
        self, name: str, *, namespace: str, site: Site, seed: int, settings: Mapping[str, object]
    ) -> None:
        self.name, self.namespace, self.site = name, namespace, site
        self._seed, self._settings = seed, settings
        self._api, self._proxy = site.api, site.proxy
        self._replicas: dict[str, int] = {}
        self._cordons: dict[str, LedgerEntry] = {}

    @property
    def gateway_url(self) -> str:
        """See Cluster."""
        return self._proxy.service(self.namespace, GATEWAY, GATEWAY_PORT)

    def gateways(self) -> list[str]:
        """See Cluster; the oldest replica first. Raises ClusterError when none runs."""
        names = [pod.name for pod in self._pods(GATEWAYS) if pod.ip]
        if not names:
            raise ClusterError(f"no gateway runs in {self.namespace}")
        return [self._proxy.pod(self.namespace, name, GATEWAY_PORT) for name in names]

    def open(self, run: str) -> None:
        """Create the namespace and the gateway, and wait until the gateway answers."""
        manifests, image = self.site.manifests, self.site.machine.image
        self._api.create([render.namespace(manifests, self.namespace, run)])
        objects = render.gateway(manifests, image=image, settings=self._settings, replicas=1)
        self._api.create([*manifests.access, *objects], self.namespace)
        self._await_gateway()

    def deploy(self, model: str, replicas: int = 1, **options: Option) -> list[PodHandle]:
        """See Cluster; options are flags of `kvsync simulate`."""
        self._create(model, replicas, options)
        self._await_pods()
        return self._of(model)

    def deploy_each(self, models: Mapping[str, Mapping[str, Option]]) -> list[PodHandle]:
        """See Cluster."""
        for model, options in models.items():
            self._create(model, 1, options)
        self._await_pods()
        return [pod for model in models for pod in self._of(model)]

    def scale(self, model: str, replicas: int) -> list[PodHandle]:
        """See Cluster; Kubernetes chooses which pods go."""
        if model not in self._replicas:
            raise UnknownName("deployment", model, self._replicas)
        self._replicas[model] = replicas
        self._api.scale(self.namespace, render.deployment_name(model), replicas)
        self._await_pods()
        return self._of(model)

    def delete_pod(self, name: str) -> PodHandle:
        """See Cluster."""
        model = self.state(name).labels[MODEL_LABEL]
        before = {pod.name for pod in self._of(model)}
        self._api.delete_pod(self.namespace, name, grace_s=GRACE_S)
        self._await_pods(lambda pods: name not in {pod.name for pod in pods})
        (replacement,) = [pod for pod in self._of(model) if pod.name not in before]
        return replacement

    def restart_pod(self, name: str) -> PodHandle:
        """See Cluster; the kubelet starts the container again."""
        before = self.state(name)
        self.execute(name, *END_ENGINE)
        self._await_pods(lambda pods: any(p.uid == before.uid and p.restarts > before.restarts for p in pods))
        return self._handle(self.state(name))

    def move_pod(self, name: str) -> PodHandle:
        """See Cluster; a Deployment's pod that moves gets a new name."""
        return self.delete_pod(name)

    def execute(self, name: str, *argv: str) -> str:
        """Run a command in a pod's container and return what it printed. Raises ClusterError."""
        machine = self.site.machine
        words = [f"--namespace={self.namespace}", "exec", name, "--", *argv]
        answer = Tools().ask(*kubectl(machine.kubeconfig, machine.context, *words), timeout_s=EXECUTE_S)
        if not answer.ok:
            raise ClusterError(f"cannot run {argv[0]} in pod {name}: {answer.reason}")
        return answer.output

    def restart_gateway(self) -> None:
        """See Cluster; all replicas at once."""
        for pod in self._pods(GATEWAYS):
            self._api.delete_pod(self.namespace, pod.name, grace_s=0)
        self._await_pods()

    def scale_gateway(self, replicas: int) -> None:
        """Set the number of gateways, and wait until each of them uses all pods."""
        self._api.scale(self.namespace, GATEWAY, replicas)
        self._await_rollout()

    def roll_gateways(self, **variables: str) -> None:
        """Replace every gateway, a new one before an old one, as a new version would.

        The new ones have these variables in their environment.
        """
        stamp = {"annotations": {"kvsync.dev/rolled-at": str(time.time_ns())}}
        env = [{"name": name, "value": value} for name, value in variables.items()]
        template = {"metadata": stamp, "spec": {"containers": [{"name": GATEWAY, "env": env}]}}
        self._api.patch_deployment(self.namespace, GATEWAY, {"spec": {"template": template}})
        self._await_rollout()

    def gateway_address(self) -> str:
        """Return the URL of the gateways' Service within the cluster, which needs no DNS."""
        return f"http://{self._api.cluster_ip(self.namespace, GATEWAY)}:{GATEWAY_PORT}"

    def drain(self, node: str) -> None:
        """Keep new pods from a node and evict ours from it, and wait until all run elsewhere.

        The ledger knows of the closed node, which is not ours alone; `uncordon` opens it again. Raises NotRun
        when the user may not do that.
        """
        self._cordons[node] = self.site.ledger.intend("cordon", node, **self.site.machine.access)
        try:
            self._api.cordon(node, closed=True)
        except Forbidden as exc:
            self.site.ledger.released(self._cordons.pop(node))
            raise NotRun(str(exc)) from exc
        try:
            for labels in (ENGINES, GATEWAYS):
                for pod in self._pods(labels):
                    if pod.node == node:
                        self._api.evict(self.namespace, pod.name)
        except Forbidden as exc:
            raise NotRun(str(exc)) from exc
        self._await_pods(lambda pods: node not in {pod.node for pod in pods})
        self._await_rollout()

    def uncordon(self, node: str) -> None:
        """Let pods run on a drained node again; of any other node nothing changes."""
        if node in self._cordons:
            self._api.cordon(node, closed=False)
            self.site.ledger.released(self._cordons.pop(node))

    def pods(self) -> list[PodHandle]:
        """See Cluster; those that run and are not being deleted."""
        return [self._handle(pod) for pod in self._pods(ENGINES) if pod.ip]

    def states(self, labels: str = ENGINES) -> list[PodState]:
        """Return pods as Kubernetes sees them, those of the engines, without those that are being deleted."""
        return self._pods(labels)

    def state(self, name: str) -> PodState:
        """Return an engine pod as Kubernetes sees it. Raises UnknownName."""
        pods = {pod.name: pod for pod in self._pods(ENGINES)}
        if name not in pods:
            raise UnknownName("pod", name, pods)
        return pods[name]

    def announced(self) -> list[Announcement]:
        """See Cluster; what deleted pods published went with them."""
        records = [record for pod in self.pods() for record in PodAdmin(pod.admin_url).published()]
        return announcements(records)

    def logs(self, name: str) -> str:
        """See Cluster. Raises UnknownName."""
        if name == GATEWAY:
            logs = [self._log(pod.name) for pod in self._pods(GATEWAYS)]
            return "\n".join(logs) or f"no gateway in {self.namespace}"
        return self._log(self.state(name).name)

    def last_logs(self) -> Iterator[tuple[str, str]]:
        """Yield the ends of the logs of gateways and engines, by pod, but not of very many."""
        for pod in self._all_pods()[:MOST_PODS]:
            if pod.container_id:
                yield pod.name, self._log(pod.name)

    def clear(self) -> None:
        """See Cluster."""
        for model in self._replicas:
            self._api.delete_deployment(self.namespace, render.deployment_name(model))
        self._replicas.clear()
        # Their Deployments are gone, so nothing takes their place.
        for pod in self._pods(ENGINES):
            self._api.delete_pod(self.namespace, pod.name, grace_s=0)
        self._await_pods()

    def describe(self) -> str:
        """Say where a person can look at the cluster."""
        kubectl = f"kubectl --kubeconfig {self.site.machine.kubeconfig} --namespace {self.namespace}"
        return f"look around: {kubectl} get pods\ngateway: {kubectl} port-forward service/gateway 8080"

    def evidence(self) -> Mapping[str, Group]:
        """See Witness: what Kubernetes says of the namespace, and the nodes of themselves where they can."""
        site = self.site
        return evidence_of(
            self._all_pods, self.namespace, machine=site.machine, api=site.api, proxy=site.proxy
        )

    def close(self) -> None:
        """See Cluster; Kubernetes goes on deleting when this returns."""
        self._api.delete_namespace(self.namespace)

    def _create(self, model: str, replicas: int, options: Mapping[str, Option]) -> None:
        if model in self._replicas:
            raise ClusterError(f"{model} is deployed in {self.name} already; scale it")
        self._replicas[model] = replicas
        deployment = render.engines(
            self.site.manifests,
            model=model,
            replicas=replicas,
            image=self.site.machine.image,
            flags=flags({"seed": self._seed, **options}),
        )
        self._api.create([deployment], self.namespace)

    def _pods(self, labels: str) -> list[PodState]:
        return [pod for pod in self._api.pods(self.namespace, labels) if not pod.deleting]

    def _all_pods(self) -> list[PodState]:
        return [*self._pods(GATEWAYS), *self._pods(ENGINES)]

    def _of(self, model: str) -> list[PodHandle]:
        return [pod for pod in self.pods() if pod.model == model]

    def _handle(self, pod: PodState) -> PodHandle:
        return PodHandle(
            name=pod.name,
            model=pod.labels[MODEL_LABEL],
            url=self._proxy.pod(self.namespace, pod.name, HTTP_PORT),
            admin_url=self._proxy.pod(self.namespace, pod.name, ADMIN_PORT),
        )

    def _log(self, pod: str) -> str:
        return self._api.log(self.namespace, pod, lines=LOG_LINES)

    def _await_gateway(self) -> None:
        def speaks() -> bool:
            with suppress(ClusterError):
                return GatewayView(self.gateways()[0]).indexed() >= 0
            return False

        self._await(speaks, "the gateway answers", lambda: self._troubles(GATEWAYS))

    def _await_rollout(self) -> None:
        """Wait until there are only gateways of the newest kind, as many as asked for, and each is ready."""

        def rolled_out() -> bool:
            replicas = self._api.rolled_out(self.namespace, GATEWAY)
            return replicas is not None and len(self._pods(GATEWAYS)) == replicas

        self._await(rolled_out, "all gateways are new and ready", lambda: self._troubles(GATEWAYS))
        self._await_pods()

    def _await_pods(self, condition: Callable[[Sequence[PodState]], bool] = lambda _: True) -> None:
        """Wait until as many pods as asked for are ready, and every gateway would use them and no other."""
        used: list[object] = []

        def settled() -> bool:
            pods = self._pods(ENGINES)
            if len(pods) != sum(self._replicas.values()) or not all(pod.ready for pod in pods):
                used[:] = [f"{sum(pod.ready for pod in pods)} of {len(pods)} pods are ready"]
                return False
            if not condition(pods):
                return False
            expected = {pod.name: pod.ip for pod in pods}
            with suppress(ClusterError):
                used[:] = [GatewayView(url).routable() for url in self.gateways()]
                known = all(each == expected for each in used)
                # The service needs a moment more, until Kubernetes has seen that a gateway is ready.
                return known and (not expected or answers(f"{self.gateway_url}/readyz"))
            return False

        total = sum(self._replicas.values())
        self._await(settled, f"the gateway uses {total} ready pods", lambda: (self._troubles(ENGINES), used))

    def _await(self, condition: Callable[[], bool], what: str, last_seen: Callable[[], object]) -> None:
        """Wait, but not for what will never come: an image that is not there, a program that keeps ending."""

        def hopeless() -> str:
            found = (f"{pod.name}: {pod.trouble}" for pod in self._all_pods() if pod.is_hopeless)
            return next(found, "")

        try:
            why = wait_for(
                lambda: condition() or hopeless(),
                what=what,
                timeout_s=self.site.machine.ready_timeout_s,
                interval_s=INTERVAL_S,
                last_seen=last_seen,
            )
        except WaitTimeout as exc:
            raise self._failure(str(exc)) from exc
        if isinstance(why, str):
            raise self._failure(f"never will be: {what}; {why}")

    def _failure(self, what: str) -> ClusterError:
        """Return the error to raise: where a container was never started, nothing in it is to blame."""
        pods = self._all_pods()
        kind = ClusterError if pods and all(pod.container_id for pod in pods) else InfrastructureError
        return kind(f"{what}\n{self._ends_of_logs()}")

    def _ends_of_logs(self) -> str:
        troubled = [pod.name for pod in self._pods(ENGINES) if not pod.ready][:1]
        logs = "\n".join([self.logs(GATEWAY), *map(self._log, troubled)])
        return f"the logs end with:\n{logs[-LOG_CHARACTERS:]}"

    def _troubles(self, labels: str) -> list[str]:
        return [f"{pod.name}: {pod.trouble or 'not ready'}" for pod in self._pods(labels) if not pod.ready]
