"""`kvsync-ci upload` and `kvsync-ci prune`, as people call them, against an S3 server."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from kvsync.ci.run_folder import RunFolder
from kvsync.testing.processes.ledger import Ledger
from tests.forking import COMMAND, Forking
from tests.integration.ci.store.conftest import AWS, Bucket

ROOT = Path(__file__).resolve().parents[4]
Call = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def call(fork: Forking, reports: Path) -> Call:
    """Run a command to its end; returns its exit status and the lines it printed."""

    def call(env: Mapping[str, str], *words: str) -> tuple[int, list[str]]:
        env = {**os.environ, **AWS, **env}
        done = fork(COMMAND, *words, "--report-dir", str(reports), env=env, cwd=ROOT)
        assert not any(AWS[name] in done.stdout for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
        return done.returncode, done.stdout.splitlines()

    return call


@pytest.fixture
def env(bucket: Bucket) -> dict[str, str]:
    """The variables that lead to the bucket."""
    return {
        "KVSYNC_CI_STORE_URL": f"s3://{bucket.name}/some/prefix",
        "KVSYNC_CI_STORE_ENDPOINT_URL": bucket.endpoint,
        "KVSYNC_CI_STORE_REGION": "us-east-1",
    }


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """A report folder with an old run and a later one, neither with a report."""
    for run in ("20240101-000000-aaaa", "29991231-000000-bbbb"):
        folder = RunFolder(tmp_path / "reports" / run)
        Ledger(folder.ledger)
        folder.ledger.touch()
        folder.page.write_text("<p>hello")
    return tmp_path / "reports"


def test_runs_are_uploaded_and_pruned(bucket: Bucket, env: dict[str, str], reports: Path, call: Call) -> None:
    """`last`, then all that is missing; what is too old goes from both places, and first only by word."""
    base = f"{bucket.endpoint}/{bucket.name}/some/prefix/kvsync"
    new, old = "29991231-000000-bbbb", "20240101-000000-aaaa"

    assert call(env, "upload", "last") == (
        0,
        [f"{new}: 1 files, 8 bytes sent: {base}/{new}/report.html"],
    )
    assert call(env, "upload", "--all") == (
        0,
        [f"{old}: 1 files, 8 bytes sent: {base}/{old}/report.html"],
    )
    where = env["KVSYNC_CI_STORE_URL"]
    words = [f"{reports}: {old}: no report", f"{where}: {old}: no report"]
    planned = [f"{line}, to be removed" for line in words]
    assert call(env, "prune", "--check") == (0, planned)
    assert call(env, "prune", "--check", "--lifecycle") == (
        0,
        [*planned, f"{where}: the bucket would get its lifecycle rule"],
    )
    assert len(bucket.store.list()) == 4
    status, lines = call(env, "prune", "--lifecycle")
    assert (status, lines) == (
        0,
        [
            *(f"{line}, removed" for line in words),
            f"{where}: the bucket removes files after 365 days, parts of uploads after 2",
        ],
    )
    assert bucket.store.list() == [f"kvsync/{new}/manifest.json", f"kvsync/{new}/report.html"]
    assert [path.name for path in reports.iterdir()] == [new]


@pytest.mark.parametrize(
    ("words", "variables", "problem"),
    [
        (
            ["upload", "last"],
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "no credentials (NoCredentialsError); set AWS_PROFILE",
        ),
        (["upload", "last"], {"KVSYNC_CI_STORE_URL": ""}, "store.url: no store; set KVSYNC_CI_STORE_URL"),
        (["prune", "--lifecycle"], {"KVSYNC_CI_STORE_URL": "."}, "only an s3:// bucket has a lifecycle"),
        (
            ["prune", "--lifecycle", "--check"],
            {"KVSYNC_CI_STORE_URL": ""},
            "only an s3:// bucket has a lifecycle",
        ),
    ],
    ids=["no credentials", "no store", "no lifecycle", "no bucket to check"],
)
def test_what_goes_wrong_is_said(
    env: dict[str, str],
    reports: Path,
    call: Call,
    words: list[str],
    variables: dict[str, str],
    problem: str,
) -> None:
    """The exit status is 2, the last line says what to do, and the run stays."""
    status, lines = call(env | variables, *words)

    assert status == 2
    assert problem in lines[-1]
    assert (reports / "29991231-000000-bbbb" / "report.html").exists()
