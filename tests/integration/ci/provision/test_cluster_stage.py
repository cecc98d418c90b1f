"""A cluster that exists already is looked at before a stage uses it."""

import json
import threading
from pathlib import Path

import pytest
import yaml

from kvsync.ci.cluster_settings import ClusterChoice, ClusterSettings
from kvsync.ci.provision.cluster_stage import ClusterStage
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.results.outcome import Outcome, StageResult
from kvsync.testing.scenarios.kubernetes_fixtures import test_kubeconfig as kubeconfig
from kvsync.testing.scenarios.kubernetes_fixtures import test_machine as machine

__all__ = ["kubeconfig", "machine"]

ROOT = Path(__file__).resolve().parents[4]

NOWHERE = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "gone", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "someone", "user": {}}],
    "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "someone"}}],
    "current-context": "gone",
}


def _made(kubeconfig: Path, run_dir: Path, image: str) -> StageResult:
    """Make the cluster of a run whose id is the name of its folder."""
    ledger = Ledger(run_dir / "ledger.jsonl")
    context = StageContext(run_dir=run_dir, repository=ROOT, ledger=ledger, stop=threading.Event())
    current = yaml.safe_load(kubeconfig.read_text())["current-context"]
    settings = ClusterSettings(image=image, kubeconfig=kubeconfig, allowed_contexts=(current,))
    return run_safely(ClusterStage(ClusterChoice("kubeconfig"), settings), context)


@pytest.mark.kubernetes
@pytest.mark.timeout(300)
def test_a_cluster_that_starts_the_image_can_be_used(machine: Machine, tmp_path: Path) -> None:
    """Nothing has to be made, and yet the result has evidence: an engine ran, and nothing is left of it."""
    run_dir = tmp_path / "7f3a"
    result = _made(Path(machine.kubeconfig), run_dir, machine.image)

    assert result.outcome is Outcome.PASSED, result.reason
    assert "start a pod of the image" in {check.name for check in result.checks}
    assert Machine.read(RunFolder(run_dir).machine).image == machine.image
    assert leftovers([run_dir / "ledger.jsonl"]) == []


@pytest.mark.kubernetes
@pytest.mark.timeout(300)
def test_an_image_that_no_node_can_pull_is_unknown(kubeconfig: Path, tmp_path: Path) -> None:
    """The reason has Kubernetes' words, and no test is started."""
    run_dir = tmp_path / "7f3b"
    result = _made(kubeconfig, run_dir, "registry.invalid/kvsync:1")

    assert result.outcome is Outcome.UNKNOWN
    assert "image: registry.invalid/kvsync:1 cannot be pulled on a node" in result.reason
    assert not RunFolder(run_dir).machine.exists()
    assert leftovers([run_dir / "ledger.jsonl"]) == []


def test_a_cluster_that_does_not_answer_is_unknown(tmp_path: Path) -> None:
    """No stage runs on it, and the reason has kubectl's words."""
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(NOWHERE))

    result = _made(file, tmp_path / "run", "example.org/kvsync:1")

    assert result.outcome is Outcome.UNKNOWN
    assert "API server: does not answer" in result.reason or "kubectl is not installed" in result.reason
    assert not RunFolder(tmp_path / "run").machine.exists()
