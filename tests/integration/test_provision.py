"""A cluster that exists already is looked at before a stage uses it."""

import json
import threading
from pathlib import Path

import pytest

from kvsync.testing.cluster_settings import ClusterChoice, ClusterSettings
from kvsync.testing.kubernetes_fixtures import test_kubeconfig as kubeconfig
from kvsync.testing.ledger import Ledger
from kvsync.testing.machine import Machine
from kvsync.testing.outcome import Outcome, StageResult
from kvsync.testing.provision import ClusterStage
from kvsync.testing.run_folder import RunFolder
from kvsync.testing.stage import StageContext, run_safely

__all__ = ["kubeconfig"]

NOWHERE = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "gone", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "someone", "user": {}}],
    "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "someone"}}],
    "current-context": "gone",
}


def _made(kubeconfig: Path, run_dir: Path) -> StageResult:
    context = StageContext(
        run_dir=run_dir, repository=run_dir, ledger=Ledger(run_dir / "ledger.jsonl"), stop=threading.Event()
    )
    settings = ClusterSettings(image="example.org/kvsync:1", kubeconfig=kubeconfig)
    return run_safely(ClusterStage(ClusterChoice("kubeconfig"), settings), context)


@pytest.mark.kubernetes
def test_a_cluster_that_answers_can_be_used(kubeconfig: Path, tmp_path: Path) -> None:
    """Nothing has to be made, and yet the result has evidence: the API server's own word."""
    result = _made(kubeconfig, tmp_path)

    assert result.outcome is Outcome.PASSED
    assert [check.name for check in result.checks] == ["ask the API server whether it is ready"]
    assert Machine.read(RunFolder(tmp_path).machine).image == "example.org/kvsync:1"


def test_a_cluster_that_does_not_answer_is_unknown(tmp_path: Path) -> None:
    """No stage runs on it, and the reason has kubectl's words."""
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(NOWHERE))

    result = _made(file, tmp_path / "run")

    assert result.outcome is Outcome.UNKNOWN
    assert "127.0.0.1:1" in result.reason or "kubectl" in result.reason
    assert not RunFolder(tmp_path / "run").machine.exists()
