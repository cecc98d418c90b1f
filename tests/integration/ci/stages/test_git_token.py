"""A private repository is fetched with a token that no other process sees."""

import base64
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psutil
import pytest

from kvsync.ci.stages.stage import StageContext
from kvsync.ci.stages.workspace import WorkspaceStage
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.verdicts import NotRun
from tests.tls import serving_tls

TOKEN = "ghp-" + "7f3a91c5" * 4
BASIC = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()


def _shows_it(process: psutil.Process) -> bool:
    """Say whether an environment or a command line of another process has the token."""
    try:
        seen = [*process.environ().values(), *process.cmdline()]
    except psutil.Error:
        return False
    return process.pid != os.getpid() and any(text in value for value in seen for text in (TOKEN, BASIC))


@contextmanager
def _private(folder: Path, showing: list[str]) -> Iterator[str]:
    """A server that wants the token; when it gets it, it looks round and has no such repository."""

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            knows = self.headers.get("Authorization") == f"Basic {BASIC}"
            if knows:
                showing.append(" ".join(each.name() for each in psutil.process_iter() if _shows_it(each)))
            self.send_response(404 if knows else 401)
            self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with serving_tls(Server, folder) as url:
        yield f"{url}/octo/private"


def test_the_token_is_in_no_environment_and_no_command_line(tmp_path: Path) -> None:
    """Not in git's, nor in that of what git starts; what we know besides is not inherited either."""
    context = StageContext(
        run_dir=tmp_path,
        repository=tmp_path / "workspace",
        ledger=Ledger(tmp_path / "ledger.jsonl", run="r"),
        tools={"PATH": os.environ["PATH"], "GIT_SSL_NO_VERIFY": "1"},
        stop=threading.Event(),
    )
    showing: list[str] = []
    with _private(tmp_path, showing) as url, pytest.raises(NotRun, match="cannot be fetched"):
        WorkspaceStage(url, "0" * 40, TOKEN).run(context)

    assert showing == [""]
