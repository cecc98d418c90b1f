"""Faults as Chaos Mesh experiments: what each renders to, and the files of infra/chaos."""

from collections import Counter
from pathlib import Path
from typing import Literal

import pytest
import yaml

from kvsync.testing.clusters.kubernetes.manifests import Manifest
from kvsync.testing.faults.chaosmesh.catalogue import CATALOGUE, write
from kvsync.testing.faults.chaosmesh.manifest import GATEWAYS, Mode, Victims, go_duration, render
from kvsync.testing.faults.fault import (
    Bandwidth,
    ClockOffset,
    ContainerKill,
    Corruption,
    CpuStress,
    Cut,
    DiskLatency,
    Fault,
    HttpDelay,
    Latency,
    MemoryStress,
    MessageLoss,
    PacketLoss,
    Partition,
    PodFailure,
    PodKill,
    PodPause,
    PortsBlocked,
    Stall,
)
from kvsync.testing.results.verdicts import NotRun

FILES = Path(__file__).parents[4] / "infra" / "chaos"
POD = "qwen-1"
VICTIM = Victims(pods={"test": (POD,)})
SELECTION = {"mode": "all", "selector": {"pods": {"test": [POD]}}}
TARGET = {"mode": "all", "selector": {"labelSelectors": {"app": "gateway"}}}


def spec(fault: Fault, *, duration_s: float | None = None, peers: Victims | None = GATEWAYS) -> Manifest:
    """Render for one pod and return the spec."""
    made = render(
        fault, name="x", namespace="", victims=VICTIM, duration_s=duration_s, labels={}, peers=peers
    )
    rendered: Manifest = made["spec"]
    return rendered


@pytest.mark.parametrize(
    ("fault", "kind", "expected"),
    [
        pytest.param(PodKill(pod=POD), "PodChaos", {"action": "pod-kill", "gracePeriod": 0}, id="pod kill"),
        pytest.param(
            ContainerKill(pod=POD),
            "PodChaos",
            {"action": "container-kill", "containerNames": ["engine"]},
            id="container kill",
        ),
        pytest.param(PodFailure(pod=POD), "PodChaos", {"action": "pod-failure"}, id="pod failure"),
        pytest.param(
            Latency(pod=POD, delay_s=0.5, jitter_s=0.1, correlation=0.25),
            "NetworkChaos",
            {
                "action": "delay",
                "delay": {"latency": "500ms", "jitter": "100ms", "correlation": "25"},
                "direction": "both",
                "target": TARGET,
            },
            id="latency",
        ),
        pytest.param(
            PacketLoss(pod=POD, fraction=0.07, correlation=0.125),
            "NetworkChaos",
            {
                "action": "loss",
                "loss": {"loss": "7", "correlation": "12.5"},
                "direction": "both",
                "target": TARGET,
            },
            id="packet loss",
        ),
        pytest.param(
            Corruption(pod=POD, fraction=0.5),
            "NetworkChaos",
            {
                "action": "corrupt",
                "corrupt": {"corrupt": "50", "correlation": "0"},
                "direction": "both",
                "target": TARGET,
            },
            id="corruption",
        ),
        pytest.param(
            Bandwidth(pod=POD, bytes_per_s=125_000),
            "NetworkChaos",
            {
                "action": "bandwidth",
                "direction": "to",
                "bandwidth": {"rate": "125000bps", "limit": 100_000, "buffer": 10_000},
            },
            id="bandwidth",
        ),
        pytest.param(
            PortsBlocked(pod=POD, ports=("events",)),
            "NetworkChaos",
            {
                "action": "partition",
                "direction": "from",
                "externalTargets": ["0.0.0.0/1:5557", "128.0.0.0/1:5557"],
            },
            id="ports blocked",
        ),
        pytest.param(
            CpuStress(pod=POD, workers=2, load=0.8),
            "StressChaos",
            {"containerNames": ["engine"], "stressors": {"cpu": {"workers": 2, "load": 80}}},
            id="cpu stress",
        ),
        pytest.param(
            MemoryStress(pod=POD, workers=2, size_bytes=512 * 1024 * 1024 + 1),
            "StressChaos",
            {"containerNames": ["engine"], "stressors": {"memory": {"workers": 2, "size": "513MB"}}},
            id="memory stress, in whole MB that are not too few",
        ),
        pytest.param(
            DiskLatency(pod=POD, delay_s=0.1, fraction=0.5, path="/data"),
            "IOChaos",
            {
                "containerNames": ["engine"],
                "action": "latency",
                "delay": "100ms",
                "percent": 50,
                "volumePath": "/data",
            },
            id="disk latency",
        ),
        pytest.param(
            ClockOffset(pod=POD, offset_s=-30),
            "TimeChaos",
            {"containerNames": ["engine"], "timeOffset": "-30s"},
            id="clock offset",
        ),
        pytest.param(
            HttpDelay(pod=POD, delay_s=2),
            "HTTPChaos",
            {"target": "Request", "port": 8000, "delay": "2s"},
            id="http delay",
        ),
    ],
)
def test_rendering(fault: Fault, kind: str, expected: Manifest) -> None:
    """Each fault becomes an experiment of its kind, with its parameters, on the victims."""
    made = render(fault, name="x", namespace="", victims=VICTIM, duration_s=None, labels={})

    assert made["kind"] == kind
    assert made["spec"] == {**SELECTION, **expected}


@pytest.mark.parametrize(
    ("lost", "direction"),
    [
        pytest.param("both", "both", id="both"),
        pytest.param("to", "from", id="what goes to the pod"),
        pytest.param("from", "to", id="what the pod sends"),
    ],
)
def test_direction_of_a_partition(lost: Literal["both", "to", "from"], direction: str) -> None:
    """What goes to the pod is, for Chaos Mesh, what comes from others; there is no particular target."""
    assert spec(Partition(pod=POD, direction=lost)) == {
        **SELECTION,
        "action": "partition",
        "direction": direction,
    }


def test_without_peers_only_what_the_pod_sends_is_disturbed() -> None:
    """Chaos Mesh refuses other directions without a target."""
    assert spec(PacketLoss(pod=POD, fraction=0.1), peers=None) == {
        **SELECTION,
        "action": "loss",
        "loss": {"loss": "10", "correlation": "0"},
        "direction": "to",
    }


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(PodPause(pod=POD), "no experiment for pod pause", id="pod pause"),
        pytest.param(Stall(pod=POD), "no experiment for stall", id="stall"),
        pytest.param(Cut(pod=POD), "no experiment for cut", id="cut"),
        pytest.param(MessageLoss(pod=POD, fraction=0.5), "no experiment for message loss", id="message loss"),
        pytest.param(
            Latency(pod=POD, delay_s=1, ports=("http",)),
            "all of a pod's traffic, not that of http alone",
            id="latency of one port",
        ),
        pytest.param(
            PortsBlocked(pod=POD, ports=("replay",)),
            "cannot reset the events connection",
            id="replay blocked",
        ),
    ],
)
def test_what_chaos_mesh_cannot_do(fault: Fault, reason: str) -> None:
    """A fault without an experiment is not run, and says why."""
    with pytest.raises(NotRun, match=reason):
        spec(fault)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        pytest.param("one", None, {"mode": "one"}, id="one"),
        pytest.param("all", None, {"mode": "all"}, id="all"),
        pytest.param("fixed", 2, {"mode": "fixed", "value": "2"}, id="fixed"),
        pytest.param("fixed-percent", 50, {"mode": "fixed-percent", "value": "50"}, id="fixed-percent"),
        pytest.param(
            "random-max-percent", 50, {"mode": "random-max-percent", "value": "50"}, id="random-max-percent"
        ),
    ],
)
def test_selection(mode: Mode, value: int | None, expected: Manifest) -> None:
    """Victims are chosen by mode among namespaces and labels; the value is a string."""
    victims = Victims(mode=mode, value=value, namespaces=("a", "b"), labels={"app": "engine"})
    made = render(PodFailure(pod=""), name="x", namespace="", victims=victims, duration_s=None, labels={})

    selector = {"namespaces": ["a", "b"], "labelSelectors": {"app": "engine"}}
    assert made["spec"] == {**expected, "selector": selector, "action": "pod-failure"}


@pytest.mark.parametrize(
    ("mode", "value"),
    [pytest.param("one", 1, id="too much"), pytest.param("fixed", None, id="too little")],
)
def test_mode_and_value_belong_together(mode: Mode, value: int | None) -> None:
    """A value that the mode does not use, or one that it lacks, is a mistake of the caller."""
    with pytest.raises(ValueError, match=f"mode '{mode}' and value {value}"):
        Victims(mode=mode, value=value)


def test_metadata() -> None:
    """Name, namespace and labels are the caller's."""
    labels = {"kvsync.dev/run": "7"}
    made = render(
        PodKill(pod=POD), name="kill-1", namespace="test", victims=VICTIM, duration_s=None, labels=labels
    )

    assert made["apiVersion"] == "chaos-mesh.org/v1alpha1"
    assert made["metadata"] == {"name": "kill-1", "namespace": "test", "labels": {"kvsync.dev/run": "7"}}


def test_duration() -> None:
    """What has an end gets a duration; what acts once gets none."""
    assert spec(PodFailure(pod=POD), duration_s=90)["duration"] == "90s"
    assert "duration" not in spec(PodKill(pod=POD), duration_s=60)
    assert "duration" not in spec(ContainerKill(pod=POD), duration_s=60)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(0, "0s", id="nothing"),
        pytest.param(300, "300s", id="minutes"),
        pytest.param(1.5, "1500ms", id="fraction"),
        pytest.param(0.0005, "500us", id="small"),
        pytest.param(-1.5, "-1500ms", id="negative"),
        pytest.param(0.1 + 0.2, "300ms", id="rounding"),
    ],
)
def test_go_duration(seconds: float, text: str) -> None:
    """Durations have one unit, the largest that needs no fraction."""
    assert go_duration(seconds) == text


def test_files_are_the_catalogues(tmp_path: Path) -> None:
    """infra/chaos is, to the byte, what the catalogue writes."""
    write(tmp_path)

    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert {path.name: path.read_text() for path in FILES.iterdir()} == written


def test_every_document_is_an_experiment_and_the_reverse() -> None:
    """infra/chaos holds one document for each entry of the catalogue, and nothing else."""
    documents = [each for path in sorted(FILES.iterdir()) for each in yaml.safe_load_all(path.read_text())]

    found = Counter(each["metadata"]["name"] for each in documents)
    assert found == Counter(
        {
            "kvsync-partition": 1,
            "kvsync-loss": 1,
            "kvsync-loss-light": 1,
            "kvsync-delay": 1,
            "kvsync-delay-light": 1,
            "kvsync-delay-long": 1,
            "kvsync-bandwidth": 1,
            "kvsync-pod-kill": 1,
            "kvsync-pod-failure": 1,
            "kvsync-pod-failure-one": 1,
            "kvsync-cpu-stress": 1,
            "kvsync-memory-stress": 1,
            "kvsync-disk-latency": 1,
            "kvsync-port-block": 1,
            "kvsync-corruption": 1,
            "kvsync-clock-offset": 1,
            "kvsync-http-delay": 1,
        }
    )
    assert [each.manifest() for file in CATALOGUE for each in file.experiments] == documents
