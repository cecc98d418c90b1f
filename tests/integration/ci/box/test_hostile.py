"""A stranger's test looks for secrets everywhere a process can, and tries what it should not.

Each line of hostile.py is tried twice: without a box, where it has to succeed, or it would prove nothing; and
in the box of a fork's run, where it finds and does nothing.
"""

import ctypes
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from kvsync.ci.stages.environment import stage_environment
from kvsync.testing.processes.living import end, find_strays
from kvsync.testing.processes.runner import run
from tests.integration.ci.box.conftest import Boxed

HOSTILE = Path(__file__).with_name("hostile.py").read_text(encoding="utf-8")

ITS_OWN = {"outlive", "write_a_result", "write_into_temporary_files"}
"""What seems to succeed in a box: the daemon ends with it, the files are its own."""

PERHAPS_ITS_OWN = {"write_into_the_reports"}
"""If the folder of the reports is below /tmp, so that there is one of this name in the box's own."""

ADD_KEY, KEYCTL, REVOKE, USER_KEYRING = 248, 250, 3, -4
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Planted:
    """A machine with secrets: who looks for them is told `places`; `kept` are files and their text."""

    places: Mapping[str, object]
    kept: Mapping[Path, str]
    asked: list[str]

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the pipeline."""
        home = str(self.places["home"])
        return {"PATH": os.environ["PATH"], "HOME": home, "KVSYNC_CI_GITHUB_TOKEN": self.canary}

    @property
    def canary(self) -> str:
        """The secret."""
        return str(self.places["yranac"])[::-1]

    @property
    def changed(self) -> list[Path]:
        """The files that are not what they were."""
        return [path for path, text in self.kept.items() if path.read_text() != text]


@pytest.fixture
def planted(tmp_path: Path, boxed: Boxed) -> Iterator[Planted]:
    """Secrets in all places, for a run that is beside them."""
    canary, reports = f"canary-{secrets.token_hex(8)}", boxed.run_dir.parent
    home, repository = tmp_path / "home", tmp_path / "pipeline"
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.NamedTemporaryFile(prefix="kvsync-")).name)
        shared = Path(stack.enter_context(tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="kvsync-")).name)
        kept = {
            home / ".git-credentials": f"https://someone:{canary}@example.org\n",
            home / ".gitconfig": f"[credential]\n\thelper = store --file {home}/.git-credentials\n",
            home / ".aws" / "credentials": f"aws_secret_access_key = {canary}\n",
            home / ".bashrc": "\n",
            repository / "kvsync-ci.toml": f"# {canary}\n",
            repository / "conftest.py": "\n",
            reports / "archive.db": canary,
            reports / ".prefect" / "prefect.db": canary,
            reports / ".prefect" / "inbox" / "1.json": canary,
            reports / "another" / "parameters.json": canary,
            temporary: canary,
            shared: canary,
        }
        for path, text in kept.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        boxed.ledger.path.write_text(f'"{canary}"\n')
        asked: list[str] = []
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvsync-")))
        places = {
            "yranac": canary[::-1],
            "patience_s": 0,
            "home": str(home),
            "repository": str(repository),
            "reports": str(reports),
            "run_dir": str(boxed.run_dir),
            "temporary": str(temporary),
            "shared": str(shared),
            "pid": stack.enter_context(_program(canary)),
            "key": stack.enter_context(_key(canary)),
            "abstract": stack.enter_context(_socket(f"\0{canary[-8:]}", canary))[1:],
            "socket": stack.enter_context(_socket(str(short / "docker.sock"), canary)),
            "api": stack.enter_context(serving("127.0.0.1", canary, asked)),
            "machine": stack.enter_context(serving(_address(), canary, asked)),
        }
        yield Planted(places, kept, asked)


@contextmanager
def _program(canary: str) -> Iterator[int]:
    """A process of the pipeline's user with a secret in its environment, and one in its command line."""
    argv = [sys.executable, "-c", "import time; time.sleep(600)", f"argument-{canary}"]
    process = subprocess.Popen(argv, env={"SECRET": canary})
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def _key(canary: str) -> Iterator[str]:
    name = f"kvsync-{canary[-8:]}"
    number = LIBC.syscall(ADD_KEY, b"user", name.encode(), canary.encode(), len(canary), USER_KEYRING)
    assert number > 0, os.strerror(ctypes.get_errno())
    try:
        yield name
    finally:
        LIBC.syscall(KEYCTL, REVOKE, number)


@contextmanager
def _socket(address: str, canary: str) -> Iterator[str]:
    """A socket that tells the secret to who connects; the abstract ones begin with a zero byte."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.sendall(canary.encode())

        thread = threading.Thread(target=serve)
        thread.start()
        yield address
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextmanager
def serving(
    host: str, canary: str, asked: list[str], port: int = 0, password: str | None = None
) -> Iterator[str]:
    """Prefect's API, or GitHub's, which does what it is asked and tells a secret; it may want a password."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if password is not None and self.headers.get("Authorization") != password:
                self.send_error(401)
                return
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(canary.encode())

        do_POST = do_GET  # noqa: N815  # the name is the library's

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((host, port), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{host}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _address() -> str:
    """Return an address of this machine besides the loopback's, if it has one."""
    every = [each for addresses in psutil.net_if_addrs().values() for each in addresses]
    found = [each.address for each in every if each.family == socket.AF_INET]
    return next((address for address in found if not address.startswith("127.")), "127.0.0.1")


def unconfined(boxed: Boxed, planted: Planted, *lines: str) -> dict[str, str]:
    """Try lines without a box, with the whole environment; returns what each found."""
    (boxed.workspace / "places.json").write_text(json.dumps(planted.places))
    argv = [sys.executable, "-c", HOSTILE, "places.json", *lines]
    run(
        argv,
        log=boxed.run_dir / "logs" / "unconfined.log",
        timeout_s=60,
        ledger=boxed.ledger,
        cwd=boxed.workspace,
        environ=planted.environ,
    )
    return found_in((boxed.run_dir / "logs" / "unconfined.log").read_text())


def found_in(printed: str) -> dict[str, str]:
    """Return what each line says that it found."""
    found: dict[str, str] = {}
    for line in printed.splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    return found


def test_each_line_succeeds_without_a_box(boxed: Boxed, planted: Planted) -> None:
    """So that finding nothing means something; the address of metadata has a test of its own."""
    found = unconfined(boxed, planted)
    strays = find_strays(boxed.run_dir.name)
    end(strays)

    assert {name for name, what in found.items() if not what} == {"metadata"}
    assert len(found) > 30
    assert len(strays) == 1
    assert len(planted.changed) == 3
    assert (boxed.run_dir / "results" / "unit.json").exists()


def test_a_fork_finds_and_does_nothing(boxed: Boxed, planted: Planted) -> None:
    """Nothing is told, nothing asked, nothing changed, nothing left."""
    environ = stage_environment(planted.environ, trusted=False)
    (boxed.workspace / "places.json").write_text(json.dumps(planted.places))

    result = boxed.run(HOSTILE, environ=environ, words=["places.json"])

    found = found_in(result.tail)
    assert result.exit_code == 0
    assert result.doubt.startswith("refused from the box: evidence/x: it is a link")
    assert result.doubt.endswith("results/unit.json: no stage writes there")
    assert {name for name, what in found.items() if what} - PERHAPS_ITS_OWN == ITS_OWN, result.tail
    assert not (boxed.run_dir.parent / "archive.db-hostile").exists()
    assert len(found) > 30
    assert (planted.changed, planted.asked) == ([], [])
    assert not (boxed.run_dir / "results").exists()
    assert planted.canary not in result.tail
    assert {path.name for path in boxed.run_dir.iterdir()} <= {
        "evidence",
        "ledger.jsonl",
        "logs",
        "workspace",
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [("fill_the_memory", "it used"), ("fill_the_disk", "it used")],
)
def test_filling_the_machine_ends_the_box(boxed: Boxed, planted: Planted, line: str, reason: str) -> None:
    """Without one it goes on."""
    assert unconfined(boxed, planted, line)[line]
    (boxed.workspace / "places.json").write_text(json.dumps({**planted.places, "patience_s": 30}))

    result = boxed.run(HOSTILE, words=["places.json", line])

    assert reason in result.doubt
    assert line not in found_in(result.tail)


METADATA = """
import json, subprocess, sys, threading
from pathlib import Path
from tests.integration.ci.box.conftest import Boxed
from tests.integration.ci.box.test_hostile import HOSTILE, serving
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "address", "add", "169.254.169.254/32", "dev", "lo"], check=True)
boxed = Boxed(run_dir=Path(sys.argv[1]))
(boxed.workspace / "places.json").write_text(json.dumps({"yranac": "1-yranac"}))
with serving("169.254.169.254", "canary-1", [], 80):
    argv = [sys.executable, "-c", HOSTILE, "places.json", "metadata"]
    subprocess.run(argv, check=True, cwd=boxed.workspace)
    print(boxed.run(HOSTILE, words=["places.json", "metadata"]).tail)
"""


def test_the_address_of_metadata_is_out_of_reach(boxed: Boxed) -> None:
    """Tried in a network in which it answers, as it does in the clouds."""
    ours = ["--user", "--map-root-user"] if os.geteuid() else []
    argv = ["unshare", *ours, "--net", sys.executable, "-c", METADATA, str(boxed.run_dir)]

    done = subprocess.run(argv, cwd=Path(__file__).parents[4], capture_output=True, text=True, check=False)

    answers = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert answers == [
        '{"metadata": "http://169.254.169.254/latest/meta-data/ answered"}',
        '{"metadata": ""}',
    ], done.stderr
