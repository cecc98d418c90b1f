"""An archive on each database, and runs to put into it."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from kvsync.ci.archive.archive import Archive
from kvsync.ci.report.report import Report
from kvsync.testing.results.outcome import Check, CheckKind, merge
from kvsync.testing.results.verdicts import NotRun

START = datetime(2026, 11, 1, 3, 0, tzinfo=UTC)

TIMEOUT_S = 30

FOLDER = "kvsync-postgres-"
"""How the folder of a server begins; then comes the process of the tests."""

KINDS: Mapping[str, CheckKind] = {
    "P": "passed",
    "F": "failed",
    "R": "flaky",
    "S": "skipped",
    "Q": "quarantined",
}

MakeReport = Callable[..., Report]


@pytest.fixture
def make_report() -> MakeReport:
    """Make the report of the run of a day: `unit="PF"` are two tests of that stage, the second failed."""

    def make(
        day: int,
        *,
        commit: str = "",
        branch: str = "main",
        dirty: bool = False,
        source: Mapping[str, object] | None = None,
        profile: str = "quick",
        cluster: str = "local",
        names: Sequence[str] = ("a", "b", "c", "d"),
        **stages: str,
    ) -> Report:
        at = START + timedelta(days=day)
        results = [
            merge(
                stage,
                [
                    Check(name=f"tests/{stage}/t.py::test_{name}", kind=KINDS[letter], detail="E   3 != 4")
                    for name, letter in zip(names, letters, strict=False)
                ],
                started_at=at,
                duration_s=10.0 + day,
            )
            for stage, letters in stages.items()
        ]
        return Report(
            run=f"run-{day}",
            started_at=at,
            duration_s=60.0,
            command="kvsync-ci run",
            stages=results,
            parameters={
                "repository": "/somewhere/kvsync",
                "profile": profile,
                "cluster": cluster,
                "source": source,
            },
            commit=commit or f"commit-{day}",
            branch=branch,
            dirty=dirty,
            versions={},
            machine={},
        )

    return make


def _remove_left(folder: Path) -> None:
    """End the server of tests that were killed, and remove its folder, which names their process."""
    owner = folder.name.removeprefix(FOLDER).partition("-")[0]
    if not owner.isdecimal() or psutil.pid_exists(int(owner)):
        return
    with suppress(OSError, ValueError, IndexError, psutil.NoSuchProcess):
        server = psutil.Process(int((folder / "cluster" / "postmaster.pid").read_text().split()[0]))
        if str(folder) in " ".join(server.cmdline()):
            server.send_signal(signal.SIGQUIT)  # at once, with its own processes
            server.wait(TIMEOUT_S)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_sockets() -> Iterator[Path]:
    """The folder with the socket of a PostgreSQL server of our own, which trusts every client."""
    server = shutil.which("postgres")
    if server is None:
        raise NotRun("needs a PostgreSQL server (the program postgres)")
    programs = Path(server).resolve().parent
    # Not below pytest's folders: only their owner may enter those, and PostgreSQL refuses to run as root.
    for left in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        _remove_left(left)
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"))
    user = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    os.chown(folder, user.pw_uid, user.pw_gid)

    def run(*argv: str | Path) -> None:
        done = subprocess.run(
            argv,
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise NotRun(f"no PostgreSQL server here: {done.stderr.decode(errors='replace')[-300:]}")

    cluster = folder / "cluster"
    options = f"-c listen_addresses= -c fsync=off -c unix_socket_directories={folder}"
    control: list[str | Path] = [
        programs / "pg_ctl",
        f"--pgdata={cluster}",
        f"--log={folder / 'log'}",
        "--wait",
    ]
    try:
        run(programs / "initdb", f"--pgdata={cluster}", "--username=kvsync", "--auth=trust", "--no-sync")
        run(*control, "start", f"--options={options}")
        yield folder
    finally:
        if (cluster / "postmaster.pid").exists():
            run(*control, "stop", "--mode=immediate")
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that does not have anything in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'archive.db'}"
        return
    import psycopg

    folder = request.getfixturevalue("postgres_sockets")
    with psycopg.connect(f"host={folder} user=kvsync dbname=postgres", autocommit=True) as connection:
        connection.execute("create database archive")
        yield f"postgresql+psycopg://kvsync:s3cr3t@/archive?host={folder}"
        connection.execute("drop database archive with (force)")


@pytest.fixture
def archive(url: str, tmp_path: Path) -> Iterator[Archive]:
    """An archive with nothing in it."""
    with Archive.open(url, tmp_path) as opened:
        yield opened
