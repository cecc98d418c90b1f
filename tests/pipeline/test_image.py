"""The pipeline's image, started as infra/compose.yaml starts it: it cannot write to itself.

The image is named by KVSYNC_CI_TEST_PIPELINE_IMAGE; infra/docker/pipeline.Dockerfile says how it is built.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from kvsync.testing.processes.wait import wait_for

IMAGE = os.environ.get("KVSYNC_CI_TEST_PIPELINE_IMAGE", "")
CONFINED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges:true")
PARAMETERS = {"stages": ["unit"], "repository": "/data/small", "report_dir": "/data/reports"}
PREPARE = """
from pathlib import Path
tests = Path("/data/small/tests/unit")
tests.mkdir(parents=True)
(tests / "test_one.py").write_text("def test_one():\\n    pass\\n")
"""
READ_UI = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:4200/').read().decode())"

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(not IMAGE, reason="needs Docker and KVSYNC_CI_TEST_PIPELINE_IMAGE=IMAGE"),
]


def docker(*words: str) -> str:
    """Run docker to its end; returns what it printed."""
    argv = ["docker", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture
def container() -> Iterator[str]:
    """A container that serves everything on SQLite."""
    name = docker("run", "--detach", "--pull=never", *CONFINED, IMAGE)
    yield name
    docker("rm", "--force", "--volumes", name)


@pytest.fixture
def inside(container: str) -> Callable[..., str]:
    """Run a command in the container that is ready; returns what it printed."""
    wait_for(lambda: "Ctrl-C" in docker("logs", container), what="serve is ready", timeout_s=180)
    address = "--env=PREFECT_API_URL=http://127.0.0.1:4200/api"
    return lambda *words: docker("exec", address, container, *words)


def test_a_confined_container_shows_runs_and_reports(container: str, inside: Callable[..., str]) -> None:
    """The UI is there, a run ends Completed with its report in the volume, and a stop is an end in order."""
    inside("python", "-c", PREPARE)
    ask = ("prefect", "deployment", "run", "pipeline/adhoc", "--watch")

    inside(*ask, "--param", f"parameters={json.dumps(PARAMETERS)}")

    assert "<!DOCTYPE html>" in inside("python", "-c", READ_UI)
    report = json.loads(inside("sh", "-c", "cat /data/reports/*/report.json"))
    assert {stage["name"]: stage["outcome"] for stage in report["stages"]} == {
        "unit": "passed",
        "residue": "passed",
    }
    docker("stop", "-t", "120", container)
    assert docker("inspect", "--format={{.State.ExitCode}}", container) == "0"
