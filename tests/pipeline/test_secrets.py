"""Secrets of the pipeline are in nothing that a run leaves, neither in its folder nor in Prefect."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.pipeline.conftest import Pipeline

pytestmark = pytest.mark.timeout(180)

PLANTED = "planted-7f3a91c5"

NAMES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GITHUB_TOKEN",
    "GITHUB_PAT",
    "KVSYNC_CI_GITHUB_TOKEN",
    "KVSYNC_CI_WEBHOOK_SECRET",
    "PREFECT_SERVER_API_AUTH_STRING",
    "PGPASSWORD",
    "MYSQL_PWD",
    "SIGNING_KEY",
)

SECRETS = {
    **{name: f"{PLANTED}-{name.lower()}" for name in NAMES},
    "DATABASE": f"postgresql://me:{PLANTED}-database@127.0.0.1:1/db",
    "KVSYNC_CI_NOTIFY_URLS": f"json://me:{PLANTED}-notify@127.0.0.1:1/{PLANTED}-path",
}

PRINTING = f"""
    import os, subprocess, warnings

    LEAKED = {sorted(SECRETS.values())!r}

    def test_environment():
        print(dict(os.environ))
        subprocess.run(["env"])
        assert not dict(os.environ), str(dict(os.environ))

    def test_another_way():
        print(LEAKED)
        warnings.warn(LEAKED[0])
        os.write(2, LEAKED[1].encode())
        assert not LEAKED, LEAKED
"""


def test_planted_secrets_are_found_nowhere(
    pipeline: Pipeline, repository: Callable[..., str], server: str
) -> None:
    """Tests get none of them; and what a test knows by another way is masked wherever it prints it."""
    planted = replace(pipeline, fork=None, env={**pipeline.env, **SECRETS})
    status, lines = planted("run", "unit", "--repository", repository(unit=PRINTING))

    assert status == 1
    assert PLANTED not in "\n".join(lines)
    (run,) = pipeline.runs()
    files = [path for path in pipeline.reports.rglob("*") if path.is_file()]
    assert [path for path in files if PLANTED.encode() in path.read_bytes()] == []
    checks = json.loads((run / "report.json").read_text())["stages"][0]["checks"]
    assert [check["kind"] for check in checks] == ["failed", "failed"]
    assert "********" in (run / "logs" / "unit.log").read_text()
    known = _known_to_prefect(server, run)
    assert all(known.values())
    assert [name for name, text in known.items() if PLANTED in text] == []


def _known_to_prefect(server: str, run: Path) -> dict[str, str]:
    """Return everything that Prefect's API tells of the flow run."""
    named = {"flow_runs": {"name": {"any_": [f"manual {run.name}"]}}}
    flow_runs = httpx.post(f"{server}/flow_runs/filter", json=named)
    (flow_run,) = flow_runs.json()
    here = {"flow_run_id": {"any_": [flow_run["id"]]}}
    texts = {
        "artifacts": httpx.post(f"{server}/artifacts/filter", json={"artifacts": here}).text,
        "logs": httpx.post(f"{server}/logs/filter", json={"logs": here}).text,
        "task runs": httpx.post(f"{server}/task_runs/filter", json=named).text,
        "states": httpx.get(f"{server}/flow_run_states/", params={"flow_run_id": flow_run["id"]}).text,
    }
    assert "failed: tests/unit/test_unit.py::test_another_way" in texts["logs"]
    assert "test_another_way" in texts["artifacts"]
    assert "nobody was notified: a service of KVSYNC_CI_NOTIFY_URLS" in texts["logs"]
    return {"flow runs": flow_runs.text, **texts}
