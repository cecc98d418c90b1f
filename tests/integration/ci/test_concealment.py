"""Processes that hold secrets are closed to others of the same user."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from deployments.service.supervisor import bound
from kvsync.ci.concealment import NOTHING, concealed, sealed
from kvsync.testing.processes.wait import wait_for

WITHIN_S = 20.0

ROOT = Path(__file__).parents[3]

WAITS = ["http.server", "--bind=127.0.0.1", "0"]
"""A module that says something and then waits."""


PLAIN = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
"""For root to be a user like any other."""


def look_into(pid: int) -> str:
    """Read an environment as another process of the same user does."""
    argv = [*PLAIN, "cat", f"/proc/{pid}/environ"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@contextmanager
def started(argv: list[str]) -> Iterator[int]:
    """Start a program with a secret in its environment; it has begun when it says something."""
    env = {**os.environ, "SECRET": "canary", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([*PLAIN, *argv], env=env, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert b"Serving" in process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can")
@pytest.mark.parametrize(
    ("argv", "is_seen"),
    [
        ([sys.executable, "-m", *WAITS], True),
        (concealed(NOTHING, *WAITS), False),
        (bound([sys.executable, "-m", *WAITS], NOTHING), False),
    ],
    ids=["any", "concealed", "service"],
)
def test_an_environment_is_seen_only_where_nothing_conceals_it(argv: list[str], *, is_seen: bool) -> None:
    """The module runs as it does with `python -m`."""
    with started(argv) as pid:
        seen = look_into(pid)

    assert ("SECRET=canary" in seen) is is_seen
    assert ("denied" in seen) is not is_seen


def test_what_a_concealed_process_starts_is_not_concealed() -> None:
    """So that tests are processes like any other."""
    code = (
        "from kvsync.ci.concealment import conceal; import os, sys; conceal(); "
        f"os.execv(sys.executable, [sys.executable, '-m', *{WAITS!r}])"
    )
    with started([sys.executable, "-c", code]) as pid:
        wait_for(lambda: "SECRET=canary" in look_into(pid), what="it is seen", timeout_s=WITHIN_S)


@pytest.mark.parametrize(
    "command",
    [
        lambda handed: concealed(handed, "has"),
        lambda handed: bound([sys.executable, "-m", "has"], handed),
    ],
    ids=["concealed", "service"],
)
def test_a_secret_that_is_handed_over_is_in_no_environment(
    tmp_path: Path, command: Callable[[int], list[str]]
) -> None:
    """Neither in that of the process nor in that of what it starts; it has the secret all the same.

    A C library sees no other environment, so what libpq needs is inherited.
    """
    (tmp_path / "has.py").write_text(
        "import os, subprocess\n"
        "started = subprocess.check_output(['env'], text=True)\n"
        "print(os.environ['TOKEN'], 's3cret' in started, 'PGPASSWORD=pg' in started, flush=True)\n"
        "input()\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    with sealed({"TOKEN": "s3cret", "PGPASSWORD": "pg"}) as handed:
        process = subprocess.Popen(
            command(handed),
            env=env,
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[handed],
            text=True,
        )
    with process:
        assert process.stdout
        assert process.stdout.readline() == "s3cret False True\n"
        with suppress(PermissionError):  # only root may look
            assert "s3cret" not in Path(f"/proc/{process.pid}/environ").read_text()
        process.communicate()
