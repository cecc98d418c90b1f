"""The task that makes a run's cluster, as a flow starts it: with parameters that anybody may have given."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from kvsync.ci.cluster_settings import ClusterSettings
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.run import Installation, Run
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.settings import Settings
from kvsync.ci.stages.stage import StageContext
from kvsync.testing.errors import ClusterError
from kvsync.testing.processes.ledger import Ledger
from tasks.cluster import create_cluster


@pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl, to read a file")
def test_parameters_allow_no_context(tmp_path: Path) -> None:
    """A run that names a context and its kubeconfig as allowed is refused: the machine that runs decides."""
    file = tmp_path / "kubeconfig"
    context = {"name": "nobody-allowed-it", "context": {"cluster": "c", "user": "u"}}
    clusters = [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}]
    file.write_text(json.dumps({"contexts": [context], "clusters": clusters}))
    parameters = Parameters(
        cluster="kubeconfig:nobody-allowed-it",
        settings=ClusterSettings(image="x", kubeconfig=file, allowed_contexts=("nobody-allowed-it",)),
        run="7",
    )
    run = StageContext(
        run_dir=tmp_path,
        repository=tmp_path,
        ledger=Ledger(tmp_path / "ledger.jsonl"),
        environ={"KUBECONFIG": str(file), "PATH": "/usr/bin:/bin"},
        stop=threading.Event(),
    )

    with pytest.raises(ClusterError, match="cannot run here"):
        create_cluster.fn(Run(parameters, Installation(Settings())), run)

    result = RunFolder(tmp_path).result("cluster")
    assert result
    assert "context: nobody-allowed-it is not allowed: a run touches only contexts that" in result.reason
