"""Which injector carries out which fault."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.faults.chaosmesh.injector import ChaosMeshInjector
from kvsync.testing.faults.fault import (
    DiskLatency,
    Fault,
    HttpDelay,
    Latency,
    MessageLoss,
    Partition,
    PodPause,
)
from kvsync.testing.faults.holding import Effect, Injector
from kvsync.testing.faults.local.injector import LocalInjector
from kvsync.testing.scenarios.injectors import injector_class
from kvsync.testing.scenarios.kind_injector import KindInjector

NODES, MESH = "the nodes", "Chaos Mesh"


class Named:
    """An injector, and its injection, that say by which name and for which pod they were asked."""

    def __init__(self, name: str, pod: str = "") -> None:
        self._name, self._pod = name, pod

    @staticmethod
    def impossible(fault: Fault) -> str:
        """See Injector; not used here."""
        raise AssertionError(fault)

    def prepare(self, fault: Fault) -> "Named":
        """See Injector."""
        return Named(self._name, fault.pod)

    def inject(self) -> None:
        """See Injection; not used here."""
        raise AssertionError

    def recover(self) -> None:
        """See Injection; not used here."""
        raise AssertionError

    def measure(self) -> Effect:
        """See Injection."""
        return Effect(True, f"{self._name} on {self._pod}")


@pytest.mark.parametrize(
    ("fault", "whose"),
    [
        pytest.param(Partition(pod="a"), NODES, id="partition"),
        pytest.param(MessageLoss(pod="a", fraction=0.5), NODES, id="message loss"),
        pytest.param(DiskLatency(pod="a", delay_s=0.1), MESH, id="disk latency"),
        pytest.param(HttpDelay(pod="a", delay_s=2.0), MESH, id="http delay"),
    ],
)
def test_chaos_mesh_does_what_no_node_can(fault: Fault, whose: str) -> None:
    """On Kind each fault has one injector, and none that either can carry out is left out."""
    injector = KindInjector(Named(NODES), Named(MESH))

    assert injector.impossible(fault) == ""
    assert injector.prepare(fault).measure() == Effect(True, f"{whose} on a")


def test_what_neither_can_is_left_out() -> None:
    """The reason is that of both."""
    assert KindInjector.impossible(Latency(pod="a", delay_s=0.1, ports=("http",))) == (
        "not possible from a node: netem delays all that passes a pod's link, not one port alone;"
        " chaos mesh delays all of a pod's traffic, not that of http alone"
    )


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        pytest.param("kvsync-1", KindInjector, id="kind"),
        pytest.param("", ChaosMeshInjector, id="another cluster"),
    ],
)
def test_the_injector_of_a_machine(kind: str, found: Callable[..., Injector], tmp_path: Path) -> None:
    """Only a Kind cluster's nodes can be entered."""
    path = tmp_path / "machine.json"
    Machine(kubeconfig="", context="", image="", manifests="", kind=kind).write(path)

    assert injector_class(path) is found
    assert injector_class(None) is LocalInjector


def test_what_chaos_mesh_never_can_stays_left_out() -> None:
    """On a cluster whose nodes cannot be entered no process is paused."""
    assert ChaosMeshInjector.impossible(PodPause(pod="a")) == "chaos mesh has no experiment for pod pause"
