"""What the commands on a node print, read as values."""

from types import SimpleNamespace
from typing import cast

import pytest

from kvsync.testing.clusters.kubernetes.cluster import KubernetesCluster
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.faults.fault import CpuStress, DiskLatency, Fault, HttpDelay, Latency, PacketLoss
from kvsync.testing.faults.node.injector import NodeInjector
from kvsync.testing.faults.node.node import Process, greeting
from kvsync.testing.processes.tools import ToolAnswer
from kvsync.testing.results.verdicts import NotRun


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(ToolAnswer(exit_code=0, output="open\n1\n"), "answered", id="greeted"),
        pytest.param(
            ToolAnswer(exit_code=124, output="open\n"), "accepted and silent for 0.5 s", id="nothing is said"
        ),
        pytest.param(ToolAnswer(exit_code=124), "silent for 0.5 s", id="no connection"),
        pytest.param(
            ToolAnswer(exit_code=1, errors="bash: connect: Connection refused\nbash: line 1: ..."),
            "refused",
            id="refused",
        ),
        pytest.param(
            ToolAnswer(exit_code=0, output="open\n0\n", errors="head: Connection reset by peer"),
            "broken off (head: Connection reset by peer)",
            id="reset",
        ),
        pytest.param(
            ToolAnswer(exit_code=1, errors="bash: connect: No route to host"),
            "broken off (bash: connect: No route to host)",
            id="no route",
        ),
    ],
)
def test_what_a_connection_gets_is_said_in_words(answer: ToolAnswer, said: str) -> None:
    """The words are those of other clusters' measurements."""
    assert greeting(answer) == said


def test_a_process_is_read_with_all_its_arguments() -> None:
    """The command is the last column, and may have spaces."""
    assert Process.parse("  20136   20129 R    11248 python -m kvsync.testing.faults.stress cpu") == Process(
        pid=20136,
        parent=20129,
        state="R",
        resident_bytes=11248 * 1024,
        command="python -m kvsync.testing.faults.stress cpu",
    )


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(
            DiskLatency(pod="a", delay_s=0.1),
            "not possible from a node: a file system is slowed down by a layer below it,"
            " which a node has not",
            id="disk latency",
        ),
        pytest.param(
            HttpDelay(pod="a", delay_s=2),
            "not possible from a node: requests are delayed by a proxy in front of the pod,"
            " which a node has not",
            id="http delay",
        ),
        pytest.param(
            Latency(pod="a", delay_s=0.1, ports=("http",)),
            "not possible from a node: netem delays all that passes a pod's link, not one port alone",
            id="latency of one port",
        ),
        pytest.param(Latency(pod="a", delay_s=0.1), "", id="latency"),
        pytest.param(PacketLoss(pod="a", fraction=0.5), "", id="packet loss"),
        pytest.param(CpuStress(pod="a"), "", id="cpu stress"),
    ],
)
def test_what_no_node_can_do_is_known_without_a_cluster(fault: Fault, reason: str) -> None:
    """What only this kernel lacks, such as netem, is not among it."""
    assert NodeInjector.impossible(fault) == reason


def test_only_nodes_of_kind_can_be_entered() -> None:
    """On any other cluster nothing is tried, not even to look for the pod."""
    elsewhere = Machine(kubeconfig="", context="", image="", manifests="", kind="")
    cluster = cast("KubernetesCluster", SimpleNamespace(site=SimpleNamespace(machine=elsewhere)))

    with pytest.raises(NotRun, match="only the nodes of a Kind cluster can be entered"):
        NodeInjector(cluster).prepare(CpuStress(pod="a"))
