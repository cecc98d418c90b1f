"""An engine pod of a Kind cluster: from outside, from its node, and from within its network."""

from collections.abc import Iterable, Mapping
from functools import cached_property

from kvsync.testing.clusters.cluster import PortName
from kvsync.testing.clusters.endpoints import PodAdmin
from kvsync.testing.clusters.kubernetes.api import PodState
from kvsync.testing.clusters.kubernetes.cluster import KubernetesCluster
from kvsync.testing.clusters.kubernetes.manifests import PORT_NUMBERS
from kvsync.testing.errors import ClusterError
from kvsync.testing.faults import effects
from kvsync.testing.faults.holding import Effect
from kvsync.testing.faults.node.node import Node


class NodePod:
    """One running pod. Raises ClusterError when it does not run.

    Its network namespace is looked for once: it is the pod's as long as there is the pod.
    """

    def __init__(self, cluster: KubernetesCluster, name: str) -> None:
        self._cluster, self.name = cluster, name
        state = self.state()
        self.uid, self.ip, self.node = state.uid, state.ip, Node(state.node)
        self.handle = next(pod for pod in cluster.pods() if pod.name == name)
        self.admin = PodAdmin(self.handle.admin_url)
        self.network = self.node.network_of(self.main_pid())

    @cached_property
    def peer(self) -> str:
        """The node's end of the pod's link."""
        return self.node.peer_of(self.network)

    def state(self) -> PodState:
        """Return the pod as Kubernetes sees it now. Raises ClusterError when it is gone."""
        for state in self._cluster.states():
            if state.name == self.name:
                return state
        raise ClusterError(f"pod {self.name} is gone")

    def main_pid(self) -> int:
        """Return the engine's process id on the node. Raises ClusterError when it does not run."""
        container = self.state().container_id
        if pid := self.node.main_pid(container):
            return pid
        raise ClusterError(f"container {container[:12]} of {self.name} does not run")

    def say(self, port: PortName) -> str:
        """Say in words what a client of one of its ports gets; requests come through the API server."""
        number = PORT_NUMBERS[port]
        return effects.ask(self.handle.url) if port == "http" else self.node.knock(self.ip, number)

    def reset(self, ports: Iterable[PortName]) -> int:
        """Reset the open connections to its ports; see Node."""
        return self.node.reset(sorted(PORT_NUMBERS[port] for port in ports), self.network)

    def unwell(self, *ports: PortName) -> Effect:
        """Measure whether a port is not answered, or Kubernetes does not find the pod ready."""
        return unwell({port: self.say(port) for port in ports or ("http",)}, self.state().ready)


def unwell(said: Mapping[PortName, str], is_ready: bool) -> Effect:
    """Judge whether a port is not answered, or the pod is not ready. Pure."""
    unanswered = effects.unanswered(said)
    readiness = "the pod is ready" if is_ready else "the pod is not ready"
    return Effect(unanswered.present or not is_ready, f"{unanswered.evidence}, {readiness}")
