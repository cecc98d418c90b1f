"""Who carries out which fault on Kubernetes: the nodes of a Kind cluster, and Chaos Mesh where it is.

Whether Chaos Mesh works is not tried before a run: each fault is its own probe. Where kinds, controllers or
kernel modules are missing it is not run, where nothing shows it is void; neither ever passes, and both say
more exactly what is missing than one probe for all faults could.
"""

from kvsync.testing.clusters.kubernetes.cluster import KubernetesCluster
from kvsync.testing.faults.chaosmesh import manifest as chaosmesh
from kvsync.testing.faults.chaosmesh.effects import Observation
from kvsync.testing.faults.chaosmesh.injector import ChaosMeshInjector
from kvsync.testing.faults.fault import Fault
from kvsync.testing.faults.holding import Injection, Injector
from kvsync.testing.faults.node.injector import NodeInjector
from kvsync.testing.results.history import History


def chaos_mesh(cluster: KubernetesCluster, history: History) -> ChaosMeshInjector:
    """Return the injector for a cluster whose nodes cannot be entered."""
    site = cluster.site
    return ChaosMeshInjector(
        client=site.api.client,
        namespace=cluster.namespace,
        machine=site.machine,
        ledger=site.ledger,
        history=history,
        observe=lambda fault: Observation(cluster, fault).measure,
    )


class KindInjector:
    """An Injector for a Kind cluster: its nodes, and Chaos Mesh for what no node can do.

    A fault of the second kind is NotRun where Chaos Mesh is not installed.
    """

    def __init__(self, nodes: Injector, mesh: Injector) -> None:
        self._nodes, self._mesh = nodes, mesh

    @staticmethod
    def impossible(fault: Fault) -> str:
        """See Injector."""
        reasons = NodeInjector.impossible(fault), chaosmesh.impossible(fault)
        return "; ".join(reasons) if all(reasons) else ""

    def prepare(self, fault: Fault) -> Injection:
        """See Injector."""
        injector = self._mesh if NodeInjector.impossible(fault) else self._nodes
        return injector.prepare(fault)
