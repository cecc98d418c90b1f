"""The catalogue of Chaos Mesh experiments, and the command that writes it to infra/chaos.

`python -m kvsync.testing.faults.chaosmesh.catalogue infra/chaos` writes each file anew; the files are never
edited by hand.
Reordered packets have no experiment: TCP hides them, and what is left of them is delay.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from kvsync.testing.clusters.kubernetes.manifests import Manifest
from kvsync.testing.faults.chaosmesh.manifest import Victims, render
from kvsync.testing.faults.fault import (
    Bandwidth,
    ClockOffset,
    Corruption,
    CpuStress,
    DiskLatency,
    Fault,
    HttpDelay,
    Latency,
    MemoryStress,
    PacketLoss,
    Partition,
    PodFailure,
    PodKill,
    PortsBlocked,
)

EXPERIMENT_LABEL = "kvsync.dev/experiment"
ENGINES = {"app": "engine"}
ONE = Victims(mode="one", labels=ENGINES)
ANY = ""
"""The pod of a fault whose victims are selected by label."""

HEADER = """\
# {title}: engines are app=engine, gateways app=gateway, in the namespace it is applied to.
# Written by `python -m kvsync.testing.faults.chaosmesh.catalogue infra/chaos`, never edited. Two experiments
# on one pod conflict, so apply them one by one, and delete each before the pods it selected:
#   kubectl apply  -n NAMESPACE -f infra/chaos/{file} -l {label}={example}
#   kubectl delete -n NAMESPACE -f infra/chaos/{file} -l {label}={example}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One document of one file; `purpose` is the comment above it."""

    name: str
    purpose: str
    fault: Fault
    duration_s: float
    victims: Victims = ONE

    def manifest(self) -> Manifest:
        """Return the resource; it has no namespace, so `kubectl apply -n` decides."""
        return render(
            self.fault,
            name=f"kvsync-{self.name}",
            namespace="",
            victims=self.victims,
            duration_s=self.duration_s,
            labels={EXPERIMENT_LABEL: self.name},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentFile:
    """What is applied from one file."""

    name: str
    title: str
    experiments: Sequence[Experiment]

    def text(self) -> str:
        """Return the file: YAML documents in order, each with its purpose."""
        example = self.experiments[0].name
        header = HEADER.format(title=self.title, file=self.name, label=EXPERIMENT_LABEL, example=example)
        documents = [
            f"---\n# {each.purpose}\n{yaml.safe_dump(each.manifest(), sort_keys=False)}"
            for each in self.experiments
        ]
        return header + "".join(documents)


NETWORK = [
    Experiment(
        name="partition",
        purpose="Nothing passes between one engine and anybody else, in either direction.",
        fault=Partition(pod=ANY),
        duration_s=30,
    ),
    Experiment(
        name="loss",
        purpose="Half of the packets between one engine and the gateways are lost, each way.",
        fault=PacketLoss(pod=ANY, fraction=0.5, correlation=0.25),
        duration_s=60,
    ),
    Experiment(
        name="loss-light",
        purpose="A tenth of the packets between one engine and the gateways are lost, each way.",
        fault=PacketLoss(pod=ANY, fraction=0.1, correlation=0.25),
        duration_s=60,
    ),
    Experiment(
        name="delay",
        purpose="Packets between one engine and the gateways take 400 to 600 ms longer, each way.",
        fault=Latency(pod=ANY, delay_s=0.5, jitter_s=0.1, correlation=0.25),
        duration_s=60,
    ),
    Experiment(
        name="delay-light",
        purpose="Packets between one engine and the gateways take 100 ms longer, each way.",
        fault=Latency(pod=ANY, delay_s=0.1),
        duration_s=60,
    ),
    Experiment(
        name="delay-long",
        purpose="Packets between all engines and the gateways take 40 to 60 ms longer, each way.",
        fault=Latency(pod=ANY, delay_s=0.05, jitter_s=0.01),
        duration_s=300,
        victims=Victims(mode="all", labels=ENGINES),
    ),
    Experiment(
        name="bandwidth",
        purpose="One engine sends at most 1 MB per second (1 mbps, which are bytes).",
        fault=Bandwidth(pod=ANY, bytes_per_s=1_000_000),
        duration_s=60,
    ),
]
PODS = [
    Experiment(
        name="pod-kill",
        purpose="One engine's pod is deleted without grace; another takes its place. Observe it for 60 s.",
        fault=PodKill(pod=ANY),
        duration_s=60,
    ),
    Experiment(
        name="pod-failure",
        purpose="Half of the engines are down; they come back at their addresses with empty caches.",
        fault=PodFailure(pod=ANY),
        duration_s=90,
        victims=Victims(mode="fixed-percent", value=50, labels=ENGINES),
    ),
    Experiment(
        name="pod-failure-one",
        purpose="One engine is down; it comes back at its address with an empty cache.",
        fault=PodFailure(pod=ANY),
        duration_s=30,
    ),
    Experiment(
        name="cpu-stress",
        purpose="Two processes beside one engine, each busy 80 % of a core.",
        fault=CpuStress(pod=ANY, workers=2, load=0.8),
        duration_s=60,
    ),
    Experiment(
        name="memory-stress",
        purpose="Two processes beside one engine hold 512 MB together.",
        fault=MemoryStress(pod=ANY, workers=2, size_bytes=512 * 1024 * 1024),
        duration_s=60,
    ),
    Experiment(
        name="disk-latency",
        purpose="Half of what one engine does with files below /tmp, which is a volume, takes 100 ms longer.",
        fault=DiskLatency(pod=ANY, delay_s=0.1, fraction=0.5),
        duration_s=60,
    ),
]
ZMQ = [
    Experiment(
        name="port-block",
        purpose="Whatever is sent to one engine's event ports is dropped; requests still pass.",
        fault=PortsBlocked(pod=ANY, ports=("events", "replay")),
        duration_s=30,
    ),
    Experiment(
        name="corruption",
        purpose="Half of the packets between one engine and the gateways are damaged, each way.",
        fault=Corruption(pod=ANY, fraction=0.5, correlation=0.25),
        duration_s=60,
    ),
    Experiment(
        name="clock-offset",
        purpose="One engine's wall clock is 30 s ahead.",
        fault=ClockOffset(pod=ANY, offset_s=30),
        duration_s=120,
    ),
    Experiment(
        name="http-delay",
        purpose="Requests to one engine wait 2 s before it sees them.",
        fault=HttpDelay(pod=ANY, delay_s=2),
        duration_s=60,
    ),
]
CATALOGUE = (
    ExperimentFile(name="network-partition.yaml", title="The network", experiments=NETWORK),
    ExperimentFile(name="pod-failures.yaml", title="Pods and what they use", experiments=PODS),
    ExperimentFile(name="zmq-failures.yaml", title="Events and requests", experiments=ZMQ),
)


def write(folder: Path) -> list[Path]:
    """Write every file of the catalogue; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in CATALOGUE:
        (folder / each.name).write_text(each.text(), encoding="utf-8")
    return [folder / each.name for each in CATALOGUE]


if __name__ == "__main__":
    match sys.argv:
        case [_, folder]:
            print(*write(Path(folder)), sep="\n")
        case _:
            sys.exit("usage: python -m kvsync.testing.faults.chaosmesh.catalogue FOLDER")
