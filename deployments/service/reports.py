"""The reports of a folder, read with a browser by those who may use Prefect's UI.

`python -m deployments.service.reports REPORT_DIR HOST PORT [NAME...]`; with PREFECT_API_AUTH_STRING, that
user and password are asked for. Without it only requests for this machine, or for one of the names, are
answered: a page of a stranger could have its own name lead here.

- What can be read is listed here: the pages of all runs, and of a run its report and the files beside it.
  Inbox, archive, passwords, ledgers and settings are not among them.
- Tested code wrote evidence and logs, so nothing of it is followed, run or rendered: links lead nowhere, and
  all is shown as text, as a picture, or saved. What runs is our pages' own script, in an origin of its own.
"""

import binascii
import hmac
import os
import re
import sys
from base64 import b64decode
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from deployments.connections import ConnectionLimits, guarded
from deployments.service.password import AUTH, is_loopback
from kvsync.ci.ordinary_file import open_ordinary
from kvsync.ci.run_folder import ALL_RUNS
from kvsync.ci.store.upload import stays_here

RUN = re.compile(r"[a-z0-9][a-z0-9-]*")
SITE = re.compile(r"index\.html|runs-\d{4,}\.html")
FILES = re.compile(r"report\.html|report(-\d+)?\.json|benchmark\.json|revision\.json")
FOLDERS = frozenset({"evidence", "history", "junit", "logs"})
"""What a reader gets of a run."""

PIECE = 64 * 1024

TEXTS = frozenset(
    {"", ".csv", ".html", ".json", ".jsonl", ".log", ".md", ".py", ".svg", ".txt", ".xml", ".yaml", ".yml"}
)
"""Shown as text, whatever they would be elsewhere."""

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
_ALONE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    f"sandbox allow-scripts allow-downloads; {_ALONE}; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
)
"""The page itself names its script, by a hash; without an origin none can ask for anything here."""
FILE_POLICY = f"sandbox; {_ALONE}"


def readable(path: str) -> Path | None:
    """Return the file in a report folder that a path of a URL names; None if there is none to be read."""
    parts = path.split("/")
    match parts:
        case [folder, name] if folder == ALL_RUNS and SITE.fullmatch(name):
            return Path(path)
        case [run, name] if RUN.fullmatch(run) and FILES.fullmatch(name):
            return Path(path)
        case [run, folder, *rest] if RUN.fullmatch(run) and folder in FOLDERS and rest:
            is_odd = any(name in ("", "..") or "\0" in name or stays_here(Path(name)) for name in rest)
            return None if is_odd else Path(path)
    return None


def kind_of(path: Path) -> tuple[str, str]:
    """Return as what a file is shown, and what it may do: see Content-Type and Content-Security-Policy."""
    if path.suffix == ".html" and len(path.parts) == 2:
        return "text/html; charset=utf-8", PAGE_POLICY
    if path.suffix == ".png":
        return "image/png", FILE_POLICY
    return ("text/plain; charset=utf-8" if path.suffix in TEXTS else "application/octet-stream"), FILE_POLICY


def is_known(headers: Headers, password: str) -> bool:
    """Say whether a request has the user and password, `user:password`; compared in constant time."""
    match headers.getlist("authorization"):
        case [given]:
            scheme, _, encoded = given.partition(" ")
            try:
                said = b64decode(encoded.strip(), validate=True)
            except binascii.Error:
                return False
            return scheme.lower() == "basic" and hmac.compare_digest(said, password.encode())
    return False


def is_meant(headers: Headers, names: Collection[str]) -> bool:
    """Say whether a request is for this machine or one of these names, by its Host."""
    host = headers.get("host", "").rpartition("@")[2].lower()
    name = re.sub(r":\d*$", "", host).strip("[]")
    return is_loopback(name) or name in names


class Reports:
    """The reports of one folder, as an ASGI application."""

    def __init__(self, report_dir: Path, password: str, names: Collection[str] = ()) -> None:
        self._root, self._password = report_dir, password
        self._names = frozenset(name.lower() for name in names)

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(routes=[Route("/{path:path}", self.answer)])

    def answer(self, request: Request) -> Response:
        """Answer a request to read."""
        if not self._password:
            if not is_meant(request.headers, self._names):
                mend = f"set KVSYNC_CI_SERVE_REPORTS_URL to this address, or {AUTH} to user:password"
                return _said(f"not the address of these reports; {mend}", 421)
        elif not is_known(request.headers, self._password):
            asked = {"WWW-Authenticate": 'Basic realm="kvsync-ci", charset="UTF-8"'}
            return _said("the user and the password of Prefect's API are needed", 401, asked)
        path = str(request.path_params["path"])
        if further := _further(path):
            return RedirectResponse(further, headers=_ALWAYS)
        return self._file(request, path)

    def _file(self, request: Request, path: str) -> Response:
        wanted = readable(path)
        try:
            file = open_ordinary(self._root, wanted) if wanted else None
        except (OSError, ValueError):
            file = None
        if wanted is None or file is None:
            return _said("there is no such report, or no such file that is shown", 404)
        kind, policy = kind_of(wanted)
        size = os.fstat(file.fileno()).st_size
        headers = _ALWAYS | {"Content-Security-Policy": policy, "Content-Length": str(size)}
        if kind == "application/octet-stream":
            headers["Content-Disposition"] = "attachment"
        if request.method == "HEAD":
            file.close()
            return Response(headers=headers, media_type=kind)
        return StreamingResponse(_pieces(file, size), headers=headers, media_type=kind)


def _further(path: str) -> str:
    """Return where a folder's page lies, relative to a path that names a folder; else ""."""
    parts = PurePosixPath(path).parts
    if path == "":
        return f"{ALL_RUNS}/index.html"
    if path == f"{ALL_RUNS}/":
        return "index.html"
    if len(parts) == 1 and RUN.fullmatch(parts[0]):
        return "report.html" if path.endswith("/") else f"{path}/report.html"
    return ""


def _said(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    policy = {"Content-Security-Policy": FILE_POLICY}
    return PlainTextResponse(f"{text}\n", status, {**_ALWAYS, **policy, **(headers or {})})


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield as much of a file as was promised; a log may grow meanwhile."""
    with file:
        while size and (piece := file.read(min(size, PIECE))):
            size -= len(piece)
            yield piece


def serve_reports(report_dir: Path, host: str, port: int, password: str, names: Collection[str]) -> None:
    """Serve until SIGTERM."""
    config = uvicorn.Config(
        Reports(report_dir.resolve(), password, names).app(),
        host=host,
        port=port,
        http=guarded(ConnectionLimits()),
        ws="none",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    folder, address, number, *known = sys.argv[1:]
    serve_reports(Path(folder), address, int(number), os.environ.get(AUTH, ""), known)
