"""How much memory, disk and inotify the doctor finds, and how much it says is needed."""

from pathlib import Path

import pytest

from kvsync.ci.cluster_settings import ClusterSettings
from kvsync.ci.doctor.findings import FindingState
from kvsync.testing.processes.tools import Tools
from tests.integration.ci.conftest import Programs
from tests.integration.ci.doctor.test_doctor import KIND, KUBECTL, LOCAL, docker, look

TINY = 'info*) echo \'{"MemTotal": 107374182, "DockerRootDir": "/proc"}\''
"""A Docker with a tenth of a GiB of memory, and with a disk that has no space."""


@pytest.fixture
def machine(programs: Programs) -> Programs:
    """A machine with a tiny Docker, which has the cluster "dev"."""
    programs("docker", *docker("ps*) echo dev", TINY))
    programs("kind", "version) echo kind v0.33.0")
    programs("kubectl", KUBECTL)
    return programs


@pytest.mark.parametrize(
    ("reuse", "memory"),
    [("", "0.1 GiB free, 2.5 GiB needed"), ("dev", "0.1 GiB free, 1.0 GiB needed")],
    ids=["three new nodes", "a cluster that is there"],
)
def test_a_docker_that_is_too_small_is_found(machine: Programs, reuse: str, memory: str) -> None:
    """Its own memory counts where the machine has more, and its own disk beside that of the reports."""
    found = look(KIND, ClusterSettings(node_image="n:1", workers=2), machine.tools, reuse=reuse)

    assert found["memory"] == (FindingState.MISSING, memory)
    assert found["disk of /proc"] == (FindingState.MISSING, "0.0 GiB free, 5.0 GiB needed")
    assert found["disk of ."][1].endswith(" GiB free, 1.0 GiB needed")


def test_limits_of_inotify_that_are_too_low_for_all_nodes_are_found(machine: Programs) -> None:
    """A million workers and a control plane need more than any machine has."""
    limits = Path("/proc/sys/fs/inotify")
    instances, watches = (
        (limits / f"max_user_{each}").read_text().strip() for each in ("instances", "watches")
    )

    found = look(KIND, ClusterSettings(node_image="n:1", workers=1_000_000), machine.tools)

    assert found["inotify limits"] == (
        FindingState.MISSING,
        f"{instances} instances and {watches} watches; 1000001 nodes need 32000032 and 1024001024",
    )


def test_a_cluster_without_nodes_needs_a_gib_of_each() -> None:
    """Docker is not asked."""
    found = look(LOCAL, ClusterSettings(), Tools("/nowhere"))

    assert {check: meaning.partition(", ")[2] for check, (_, meaning) in found.items()} == {
        "memory": "1.0 GiB needed",
        "disk of .": "1.0 GiB needed",
    }
