"""What a killed run left in a real Docker is found by its mark and removed."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvsync.ci.cleaning.residue import clear, find
from kvsync.ci.cluster_settings import ClusterSettings
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.tools import ON_PATH

IMAGE = ClusterSettings().base_image

pytestmark = pytest.mark.skipif(
    not ON_PATH.ask("docker", "image", "inspect", IMAGE).ok, reason=f"needs Docker with the image {IMAGE}"
)


@pytest.fixture
def run() -> Iterator[str]:
    """The id of a run with an image and a container of its own."""
    run = f"test-{secrets.token_hex(4)}"
    ON_PATH.ask("docker", "tag", IMAGE, f"kvsync:{run}")
    made = ON_PATH.ask(
        *["docker", "create", f"--name=kvsync-{run}-probe", f"--label=kvsync.dev/run={run}"],
        *["--network=none", f"kvsync:{run}", "sleep", "60"],
        timeout_s=20,
    )
    assert made.ok, made.reason
    yield run
    ON_PATH.ask("docker", "rm", "--force", f"kvsync-{run}-probe", timeout_s=20)
    ON_PATH.ask("docker", "image", "rm", "--force", f"kvsync:{run}", timeout_s=20)


@pytest.mark.parametrize("listed", [True, False], ids=["in the ledger", "by its mark alone"])
def test_a_container_and_an_image_of_a_run_are_removed(run: str, listed: bool, tmp_path: Path) -> None:
    """The base image, which has the same content under another name, stays."""
    ledger = Ledger(tmp_path / run / "ledger.jsonl")
    if listed:
        ledger.intend("image", f"kvsync:{run}")
        ledger.intend("container", f"kvsync-{run}-probe")
    residue = find(ledger.path)
    assert sorted(residue.describe()) == [f"container kvsync-{run}-probe", f"image kvsync:{run}"]

    assert residue.remove(ledger) == {}

    assert find(ledger.path).describe() == []
    assert ON_PATH.ask("docker", "container", "inspect", f"kvsync-{run}-probe").exit_code == 1
    assert ON_PATH.ask("docker", "image", "inspect", IMAGE).ok


def test_what_a_broken_build_leaves_is_found_by_its_label(tmp_path: Path) -> None:
    """It has no name; that of another run stays."""
    run = f"test-{secrets.token_hex(4)}"
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        f"FROM {IMAGE}\nLABEL kvsync.dev/run={run}\nCOPY Dockerfile /\nRUN false\n"
    )
    assert not ON_PATH.ask("docker", "build", str(folder), timeout_s=60).ok
    ledger = Ledger(tmp_path / run / "ledger.jsonl")
    kinds = {line.split()[0] for line in find(ledger.path).describe()}
    assert "image" in kinds

    clear(find(ledger.path), ledger)

    assert find(ledger.path).describe() == []
    assert ON_PATH.ask("docker", "image", "inspect", IMAGE).ok
