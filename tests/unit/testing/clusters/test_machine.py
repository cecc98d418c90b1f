"""Where the clusters of a run are made, as all its stages read it."""

from pathlib import Path

from kvsync.testing.clusters.kubernetes.machine import Machine

MACHINE = Machine(kubeconfig="/k", context="dev", image="i", manifests="/m", kind="kvsync-7")


def test_what_is_in_a_cluster_is_reached_by_its_access(tmp_path: Path) -> None:
    """What cleans up needs the file and the context, and the Kind cluster that it goes with."""
    MACHINE.write(tmp_path / "machine.json")

    assert Machine.read(tmp_path / "machine.json") == MACHINE
    assert MACHINE.access == {"kubeconfig": "/k", "context": "dev", "kind_cluster": "kvsync-7"}
