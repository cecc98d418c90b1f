"""Kind clusters, whose nodes are containers of this machine's Docker."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from kvsync.ci.cluster_settings import ClusterSettings
from kvsync.testing.processes.commands import Commands

LOAD_TIMEOUT_S = 300.0
ANSWER_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KindCommand:
    """The `kind` command; every call raises CommandError when it fails."""

    settings: ClusterSettings
    commands: Commands

    def create(self, name: str, kubeconfig: Path) -> None:
        """Create a cluster and wait until its nodes are ready; `kubeconfig` is written for it alone."""
        config, wait_s = kubeconfig.with_name("kind.yaml"), self.settings.create_timeout_s
        config.write_text(cluster_config(self.settings.workers))
        argv = ["kind", "create", "cluster", f"--name={name}", f"--config={config}"]
        argv += [f"--kubeconfig={kubeconfig}", f"--wait={wait_s:.0f}s"]
        argv += [f"--image={self.settings.node_image}"] if self.settings.node_image else []
        self.commands.run(argv, timeout_s=2 * wait_s)

    def delete(self, name: str, kubeconfig: Path) -> None:
        """Delete a cluster; it is not an error if there is none."""
        argv = ["kind", "delete", "cluster", f"--name={name}", f"--kubeconfig={kubeconfig}"]
        self.commands.run(argv, timeout_s=self.settings.delete_timeout_s)

    def exists(self, name: str) -> bool:
        """Say whether there is a cluster of this name."""
        printed = self.commands.run(["kind", "get", "clusters"], timeout_s=ANSWER_TIMEOUT_S)
        return name in printed.splitlines()

    def write_kubeconfig(self, name: str, kubeconfig: Path) -> None:
        """Write the kubeconfig of an existing cluster."""
        argv = ["kind", "export", "kubeconfig", f"--name={name}", f"--kubeconfig={kubeconfig}"]
        self.commands.run(argv, timeout_s=ANSWER_TIMEOUT_S)

    def load(self, name: str, image: str) -> None:
        """Put an image of this machine on every node."""
        self.commands.run(["kind", "load", "docker-image", image, f"--name={name}"], timeout_s=LOAD_TIMEOUT_S)


def cluster_config(workers: int) -> str:
    """Return Kind's configuration: one control plane, and this number of workers."""
    nodes = [{"role": "control-plane"}, *({"role": "worker"} for _ in range(workers))]
    return yaml.safe_dump({"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": nodes})
