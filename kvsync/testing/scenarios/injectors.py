"""Which injector carries out the faults of a run.

On a local cluster these are signals and a proxy, on a Kind cluster its nodes, which can be entered, and on
any other one Chaos Mesh, if it is installed there; on Kind it does what no node can do.
"""

from pathlib import Path

from kvsync.testing.clusters.cluster import Cluster
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.clusters.local.cluster import LocalCluster
from kvsync.testing.faults.holding import Injector
from kvsync.testing.faults.local.injector import LocalInjector
from kvsync.testing.results.history import History

# What is for Kubernetes is imported where it is used: its client takes a second, which local runs do without.


def injector_class(machine: Path | None) -> type[Injector]:
    """Return the kind of injector for a run's `machine.json`; without one the run is local."""
    if machine is None:
        return LocalInjector
    from kvsync.testing.faults.chaosmesh.injector import ChaosMeshInjector
    from kvsync.testing.scenarios.kind_injector import KindInjector

    return KindInjector if Machine.read(machine).kind else ChaosMeshInjector


def make_injector(cluster: Cluster, history: History) -> Injector:
    """Return the injector for a cluster."""
    if isinstance(cluster, LocalCluster):
        return LocalInjector(cluster)
    from kvsync.testing.clusters.kubernetes.cluster import KubernetesCluster
    from kvsync.testing.faults.node.injector import NodeInjector
    from kvsync.testing.scenarios.kind_injector import KindInjector, chaos_mesh

    assert isinstance(cluster, KubernetesCluster)
    mesh = chaos_mesh(cluster, history)
    if cluster.site.machine.kind:
        return KindInjector(NodeInjector(cluster), mesh)
    return mesh
