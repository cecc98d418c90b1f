"""The cluster that all scenarios trust: it says why a pod does not start, and leaves nothing behind."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kvsync.testing import ClusterError, wait_for
from kvsync.testing.clusters.local.cluster import LocalCluster
from kvsync.testing.processes.ledger import leftovers
from kvsync.testing.processes.living import find_strays

pytestmark = [pytest.mark.timeout(180), pytest.mark.local_only]

STARTER = """
import sys
from pathlib import Path
from kvsync.testing import Ledger, LocalProvider
run_dir = Path(sys.argv[1])
cluster = LocalProvider(run_dir=run_dir, ledger=Ledger(run_dir / "ledger.jsonl"), seed=1).create("c")
cluster.deploy("qwen", 2)
cluster.pod("qwen-1").program.pause()
print("up", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of 127.0.0.1 with a listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_taken_port_is_named(cluster: LocalCluster, taken: int) -> None:
    """A pod that cannot listen ends the wait at once, with its own words."""
    with pytest.raises(ClusterError, match=r"pod qwen-0 ended while starting") as raised:
        cluster.deploy("qwen", host="127.0.0.1", port=taken)

    assert re.search(rf"127\.0\.0\.1:{taken} is in use by", str(raised.value))


def test_a_wrong_option_is_named(cluster: LocalCluster) -> None:
    """A pod that refuses its options ends the wait at once, with its own words."""
    with pytest.raises(
        ClusterError, match=r"(?s)pod qwen-0 ended while starting.*block_size: 0 is less than 1"
    ):
        cluster.deploy("qwen", block_size=0)


def test_a_killed_run_leaves_no_process(tmp_path: Path) -> None:
    """Gateway and pods end when the process that started them is killed, even a pod that is paused."""
    ledger = tmp_path / "ledger.jsonl"
    starter = [sys.executable, "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(starter, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        children = psutil.Process(process.pid).children()
        process.kill()

    assert len(children) == 3
    assert len(leftovers([ledger])) == 3
    wait_for(lambda: not find_strays(tmp_path.name), what="the end of every process of the run", timeout_s=10)
