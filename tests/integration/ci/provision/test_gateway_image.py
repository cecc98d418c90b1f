"""The image of gateway and simulator, built as a run builds it and started as confined as its pods."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvsync.ci.cluster_settings import ClusterSettings
from kvsync.ci.provision.image import build
from kvsync.testing.processes.commands import Commands
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.tools import ON_PATH
from kvsync.testing.processes.wait import wait_for

REPOSITORY = Path(__file__).resolve().parents[4]
BASE = ClusterSettings().base_image
CONFINED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges:true", "--network=none")
ADDED_BYTES = 180_000_000
"""What the image may add to its base; 158 MB when this was written."""

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not ON_PATH.ask("docker", "image", "inspect", BASE).ok, reason=f"needs Docker with the image {BASE}"
    ),
]


def docker(*words: str) -> str:
    """Run docker; returns what it printed."""
    answer = ON_PATH.ask("docker", *words, timeout_s=60)
    assert answer.ok, answer.reason
    return answer.output.strip()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image, as `kvsync-ci run --cluster kind` builds it."""
    folder, tag = tmp_path_factory.mktemp("image"), f"kvsync:test-{secrets.token_hex(4)}"
    commands = Commands(log=folder / "log", ledger=Ledger(folder / "ledger.jsonl"))
    build(tag, repository=REPOSITORY, base=BASE, folder=folder / "context", commands=commands)
    yield tag
    docker("image", "rm", "--force", tag)


@pytest.fixture
def container(image: str, tmp_path: Path) -> Iterator[str]:
    """A gateway that cannot write to its own file system and has no rights."""
    config = tmp_path / "gateway.yaml"
    config.write_text("pods: [{name: a, model: demo, host: 127.0.0.1}]\n")
    mount = f"--volume={config}:/etc/kvsync/gateway.yaml:ro"
    name = docker("run", "--detach", *CONFINED, mount, image, "gateway", "--config=/etc/kvsync/gateway.yaml")
    yield name
    docker("rm", "--force", name)


def test_the_image_is_small_and_its_gateway_healthy(image: str, container: str) -> None:
    """It runs as no root, Docker sees that it is healthy, and SIGTERM is an end in order."""
    wait_for(
        lambda: docker("inspect", "--format={{.State.Health.Status}}", container) == "healthy",
        what="the gateway is healthy",
        timeout_s=60,
        interval_s=1,
        last_seen=lambda: docker("logs", container),
    )

    assert docker("exec", container, "id", "-u") == "65532"
    size, base = (int(docker("image", "inspect", "--format={{.Size}}", each)) for each in (image, BASE))
    assert size - base < ADDED_BYTES
    docker("stop", container)
    assert docker("inspect", "--format={{.State.ExitCode}}", container) == "0"
