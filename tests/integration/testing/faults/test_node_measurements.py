"""When a network fault of a pod is taken for proved: what the node's kernel counts; docker is a stand-in."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from kvsync.testing.clusters.cluster import PodHandle, PortName
from kvsync.testing.faults.fault import Corruption, Latency, PacketLoss, Partition
from kvsync.testing.faults.node.network import RuleFault
from kvsync.testing.faults.node.node import Node
from kvsync.testing.faults.node.pod import NodePod
from kvsync.testing.faults.node.rules import NodeNetworkFault
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.tools import Tools

DOCKER = """\
#!/bin/sh
cd {folder}
case "$*" in
  *-I*) mark=$(echo "$*" | grep -o 'kvsync-[^ ]*') && echo "$mark" > mark ;;
  *-nvxL*) for last; do :; done; echo "$(cat $last) 80 DROP 0 -- eth0 * /* $(cat mark) */" ;;
  *snmp) printf 'Tcp: InSegs RetransSegs\\nTcp: 900 %s\\n' "$(cat resent)" ;;
esac
"""
BOTH, TO = Partition(pod="a"), Partition(pod="a", direction="to")
FROM, LOSS = Partition(pod="a", direction="from"), PacketLoss(pod="a", fraction=0.5)
CORRUPTION = Corruption(pod="a", fraction=0.5)
SILENT = "silent for 0.5 s"
HANDLE = PodHandle(name="a", model="m", url="http://127.0.0.1:1", admin_url="")


@dataclass(kw_only=True)
class Pod:
    """A pod on such a node: the part of NodePod that is asked; everybody is told `said`."""

    node: Node
    said: str = "answered"
    name: str = "a"
    network: str = "/run/netns/n"
    peer: str = "veth7"
    handle: PodHandle = HANDLE

    def say(self, port: PortName) -> str:
        """See NodePod."""
        return self.said


class Stage:
    """A pod, a fault of it, and what the kernel of its node counted."""

    def __init__(self, folder: Path, fault: NodeNetworkFault) -> None:
        self._folder = folder
        (folder / "docker").write_text(DOCKER.format(folder=folder))
        (folder / "docker").chmod(0o755)
        self.count(INPUT=0, OUTPUT=0, resent=35)
        self.pod = Pod(node=Node("n1", Tools(f"{folder}:/usr/bin:/bin")))
        self.fault = RuleFault(cast("NodePod", self.pod), fault, Ledger(folder / "run" / "ledger.jsonl"))

    def count(self, **counters: int) -> None:
        """Let the kernel have counted so much."""
        for name, number in counters.items():
            (self._folder / name).write_text(str(number))


@pytest.mark.parametrize(
    ("fault", "said", "to", "from_", "is_proved"),
    [
        pytest.param(BOTH, SILENT, 3, 1, True, id="both ways"),
        pytest.param(BOTH, SILENT, 3, 0, False, id="one of two ways"),
        pytest.param(TO, SILENT, 3, 0, True, id="to the pod"),
        pytest.param(TO, SILENT, 0, 0, False, id="no packet is lost"),
        pytest.param(TO, SILENT, 3, 1, False, id="the other way, too"),
        pytest.param(TO, "answered", 3, 0, False, id="a request is answered"),
        pytest.param(FROM, SILENT, 0, 1, True, id="from the pod"),
    ],
)
def test_a_partition_loses_packets_on_its_ways_alone(
    tmp_path: Path, fault: Partition, said: str, to: int, from_: int, is_proved: bool
) -> None:
    """No request is answered, and the rules tell which way is cut."""
    stage = Stage(tmp_path, fault)
    stage.fault.inject()
    stage.pod.said = said
    stage.count(INPUT=to, OUTPUT=from_)

    effect = stage.fault.measure()

    assert effect.present is is_proved
    assert effect.evidence == f"a request is {said}; lost {to} packets to the pod, {from_} from it"


@pytest.mark.parametrize(
    ("fault", "resent", "dropped", "is_proved"),
    [
        pytest.param(LOSS, 36, 1, True, id="loss"),
        pytest.param(LOSS, 35, 1, False, id="loss, nothing is sent again"),
        pytest.param(LOSS, 36, 0, False, id="loss, nothing is dropped"),
        pytest.param(CORRUPTION, 36, 0, True, id="corruption"),
        pytest.param(CORRUPTION, 35, 0, False, id="corruption, nothing is sent again"),
    ],
)
def test_a_loss_shows_in_what_is_sent_again_since_it_began(
    tmp_path: Path, fault: NodeNetworkFault, resent: int, dropped: int, is_proved: bool
) -> None:
    """What the pod sent again before is none of it."""
    stage = Stage(tmp_path, fault)
    stage.fault.inject()
    stage.count(OUTPUT=dropped, resent=resent)

    assert stage.fault.measure().present is is_proved


@pytest.mark.parametrize(
    ("said", "is_left"), [("answered", False), (SILENT, True)], ids=["all are answered", "none is"]
)
def test_a_loss_is_gone_when_every_request_is_answered(tmp_path: Path, said: str, is_left: bool) -> None:
    """What was sent again in its time is not counted any more."""
    stage = Stage(tmp_path, LOSS)
    stage.fault.inject()
    stage.count(INPUT=9, resent=99)
    stage.fault.recover()
    stage.pod.said = said

    assert stage.fault.measure().present is is_left


def test_a_quick_answer_is_no_latency(tmp_path: Path) -> None:
    """A refusal is one, too: it takes milliseconds."""
    stage = Stage(tmp_path, Latency(pod="a", delay_s=1.0))
    stage.fault.inject()

    assert not stage.fault.measure().present
