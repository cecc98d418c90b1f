"""What the programs of a node print is read as values; docker is a stand-in."""

from pathlib import Path

import pytest

from kvsync.testing.errors import ClusterError
from kvsync.testing.faults.node.node import Node
from kvsync.testing.processes.tools import Tools

DOCKER = """\
#!/bin/sh
case "$*" in
  *"task ls") printf 'TASK PID STATUS\\n%s\\n' "aaa 11 STOPPED" "bbb 12 RUNNING" "ccc 13 PAUSED" ;;
  *"/proc/7/schedstat /proc/8/schedstat") printf '%s\\n' "2000000000 500000000 9" "1000000000 0 3" ;;
  *"--net=/run/netns/a ip"*) echo "3: eth0@if7: <BROADCAST,UP> mtu 1500" ;;
  *"--net=/run/netns/b ip"*) echo "3: eth0@if9: <BROADCAST,UP> mtu 1500" ;;
  *"--net=/run/netns/c ip"*) echo "3: eth0: <BROADCAST,UP> mtu 1500" ;;
  *"ip -oneline link") printf '%s\\n' "1: lo: <LOOPBACK>" "7: veth12ab@if3: <UP>" "8: veth9@if3: <UP>" ;;
esac
"""


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node with three containers and two pods' links."""
    docker = tmp_path / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    return Node("n1", Tools(f"{tmp_path}:/usr/bin:/bin"))


@pytest.mark.parametrize(
    ("container", "pid"),
    [
        pytest.param("bbb", 12, id="running"),
        pytest.param("ccc", 13, id="paused"),
        pytest.param("aaa", None, id="stopped"),
        pytest.param("ddd", None, id="no such container"),
    ],
)
def test_a_container_that_ended_has_no_process(node: Node, container: str, pid: int | None) -> None:
    """Containerd lists it all the same, with the process id that it had."""
    assert node.main_pid(container) == pid


def test_processes_ran_and_waited_for_a_core(node: Node) -> None:
    """The kernel writes both in nanoseconds, for each process in a line."""
    assert node.cpu_s([7, 8]) == (3.0, 0.5)


def test_the_other_end_of_a_link_is_found_by_its_index(node: Node) -> None:
    """It is named without what follows the @."""
    assert node.peer_of("/run/netns/a") == "veth12ab"


@pytest.mark.parametrize("network", ["/run/netns/b", "/run/netns/c"], ids=["unknown index", "no link"])
def test_a_link_without_another_end_on_the_node_is_an_error(node: Node, network: str) -> None:
    """No other link may be disturbed instead."""
    with pytest.raises(ClusterError, match=f"eth0 in {network} has no other end on n1"):
        node.peer_of(network)
