"""Where the clusters of a run are made: on this machine, or in namespaces of a Kubernetes cluster.

A run writes it down once, in `machine.json` of its folder, before the first stage that needs it; the tests of
every stage read it from there.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

CLUSTER_LABEL = "io.x-k8s.kind.cluster"
"""What kind puts on the containers of a cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A Kubernetes cluster that a run may use.

    `kind` is the name of the Kind cluster whose nodes are containers here, empty for any other cluster:
    only a Kind cluster's nodes can be entered. `image` has gateway and simulator, and is on every node; empty
    where no stage of the run needs it.
    `manifests` is the folder of the manifests that are applied. `services` is the namespace in which services
    of stages are pods, empty where none are.
    """

    kubeconfig: str
    context: str
    image: str
    manifests: str
    kind: str = ""
    services: str = ""
    namespace_prefix: str = "kvsync"
    ready_timeout_s: float = 180.0
    delete_timeout_s: float = 120.0

    @property
    def access(self) -> dict[str, str]:
        """What a ledger entry of something in it has to say: how to reach it, and what it goes with."""
        return {"kubeconfig": self.kubeconfig, "context": self.context, "kind_cluster": self.kind}

    def write(self, path: Path) -> None:
        """Write it down."""
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> "Machine":
        """Read what `write` wrote."""
        return cls(**json.loads(path.read_text()))
