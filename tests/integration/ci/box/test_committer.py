"""Code without a box, a committer's, looks for secrets in the processes of the pipeline and in its API.

It is the same user's: files it can read, see SECURITY.md.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvsync.ci.concealment import concealed, sealed
from kvsync.ci.stages.environment import secrets_apart, stage_environment
from tests.integration.ci.box.test_hostile import HOSTILE, found_in, serving
from tests.integration.ci.test_concealment import PLAIN, WAITS

LINES = [
    "own_environment",
    "environment_of_every_process",
    "memory_of_a_process",
    "trace_of_a_process",
    "files_of_a_process",
    "api_of_prefect",
    "start_a_run",
]


@contextmanager
def _pipeline(environ: dict[str, str], folder: Path, *, conceals: bool) -> Iterator[int]:
    """A process of the pipeline, started as ours are, or as any program is."""
    known, secret = secrets_apart(environ)
    with sealed(secret) as handed:
        argv = concealed(handed, *WAITS) if conceals else [sys.executable, "-m", *WAITS]
        process = subprocess.Popen(
            [*PLAIN, *argv],
            env={**(known if conceals else environ), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            cwd=folder,
            pass_fds=[handed],
        )
    try:
        assert process.stdout is not None
        assert b"Serving" in process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can conceal a process")
@pytest.mark.parametrize("conceals", [False, True])
def test_a_committer_finds_no_secret_in_a_process(tmp_path: Path, *, conceals: bool) -> None:
    """Each line of the hostile suite that looks there finds it where nothing is concealed."""
    canary, home = f"canary-{secrets.token_hex(8)}", tmp_path / "home"
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "KVSYNC_CI_GITHUB_TOKEN": canary}
    home.mkdir()
    (home / ".git-credentials").write_text(canary)
    asked: list[str] = []
    with (
        _pipeline(environ, tmp_path, conceals=conceals) as pid,
        serving("127.0.0.1", canary, asked, password="Basic a" if conceals else None) as api,
    ):
        places = {"yranac": canary[::-1], "pid": pid, "home": str(home), "api": api}
        (tmp_path / "places.json").write_text(json.dumps(places))
        done = subprocess.run(
            [*PLAIN, sys.executable, "-c", HOSTILE, "places.json", *LINES],
            env=stage_environment(environ, trusted=True) if conceals else environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    found = found_in(done.stdout)
    assert list(found) == LINES
    assert {name for name, what in found.items() if what} == (set() if conceals else set(LINES)), done.stderr
    assert bool(asked) is not conceals
