"""Stores of each kind: a directory, and S3 of moto, of real servers and of what the environment names."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import uuid4

import pytest
from boto3.session import Session
from moto.server import ThreadedMotoServer

from kvsync.ci.settings import StoreSettings
from kvsync.ci.store.directory import DirectoryStore
from kvsync.ci.store.s3 import PATIENCE, S3Store
from kvsync.ci.store.store import Store
from kvsync.testing.clusters.local.fault_proxy import FaultProxy
from tests.integration.ci.store.servers import CERTIFICATE, PROGRAMS, Server, serving

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ELSEWHERE = os.environ.get("KVSYNC_CI_TEST_S3_ENDPOINT", "")
ELSEWHERE_BUCKET = os.environ.get("KVSYNC_CI_TEST_S3_BUCKET", "")
"""A server of S3's protocol that the same tests run against, with the credentials of the environment."""

REAL = [
    pytest.param(
        f"{server} {transport}",
        marks=pytest.mark.skipif(
            not PROGRAMS, reason="KVSYNC_CI_S3_SERVERS names no folder with the programs rclone and weed"
        ),
    )
    for server, transport in product(("rclone", "seaweedfs"), ("http", "tls"))
]
"""Servers that run as processes, over both transports."""

PART = 5 * 1024**2

AWS = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDKEYID1234",
    "AWS_SECRET_ACCESS_KEY": "planted/secret+key",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}
"""What boto3 finds, whatever the machine has."""


class Bucket:
    """A bucket and what the server says of it; `settings` lead a store to it."""

    def __init__(self, client: "S3Client", name: str, prefix: str) -> None:
        self.client, self.name, self.prefix = client, name, prefix
        self.endpoint = client.meta.endpoint_url
        self.store = S3Store(client, self.settings())

    def settings(self, **fields: object) -> StoreSettings:
        """Return settings for a store in the bucket."""
        return StoreSettings.model_validate(
            {
                "url": f"s3://{self.name}/{self.prefix}",
                "endpoint_url": self.endpoint,
                "region": "us-east-1",
                "part_size": PART,
                **fields,
            }
        )

    def unfinished(self) -> list[str]:
        """Return the keys of multipart uploads that were never ended."""
        uploads = self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])
        return [each["Key"] for each in uploads]


def client_of(endpoint: str, certificate: Path | None = None) -> "S3Client":
    """Return a client as the store has one, that believes a certificate."""
    return Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        config=PATIENCE,
        verify=str(certificate) if certificate else None,
    )


@pytest.fixture(scope="session", autouse=True)
def _credentials() -> Iterator[None]:
    given = {name: os.environ.get(name) for name in AWS}
    if not ELSEWHERE:
        os.environ.update(AWS)
    yield
    for name, text in given.items():
        if text is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = text


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The endpoint of an S3 server that keeps everything in memory."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def client(moto: str) -> "S3Client":
    """A client of that server; making one takes longer than most tests."""
    return client_of(moto)


@pytest.fixture
def bucket(client: "S3Client") -> Bucket:
    """A bucket of its own."""
    bucket = Bucket(client, f"bucket-{uuid4().hex}", "some/prefix")
    client.create_bucket(Bucket=bucket.name)
    return bucket


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """A proxy that can cut connections."""
    with FaultProxy() as proxy:
        yield proxy


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Bucket]]:
    """Give a place in the bucket of a server in REAL, which is started when it is first asked for."""
    clients: dict[str, S3Client] = {}
    login = AWS["AWS_ACCESS_KEY_ID"], AWS["AWS_SECRET_ACCESS_KEY"]
    with ExitStack() as servers:

        def start(server: Server) -> None:
            folder = tmp_path_factory.mktemp(server)
            for transport, endpoint in servers.enter_context(serving(server, folder, login)).items():
                clients[f"{server} {transport}"] = client_of(endpoint, folder / CERTIFICATE)
            clients[f"{server} http"].create_bucket(Bucket="tests")

        def place(name: str) -> Bucket:
            if name not in clients:
                start(cast("Server", name.partition(" ")[0]))
            return Bucket(clients[name], "tests", f"at-{uuid4().hex}")

        yield place


@pytest.fixture(params=["moto", *REAL])
def server_bucket(request: pytest.FixtureRequest, real: Callable[[str], Bucket]) -> Bucket:
    """A place in a bucket of each server."""
    if request.param == "moto":
        return cast("Bucket", request.getfixturevalue("bucket"))
    return real(request.param)


@pytest.fixture(params=["directory", "moto", *REAL, *filter(None, [ELSEWHERE and "environment"])])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    match request.param:
        case "directory":
            return DirectoryStore(tmp_path / "store")
        case "moto":
            bucket: Bucket = request.getfixturevalue("bucket")
            return bucket.store
        case "environment":
            return Bucket(client_of(ELSEWHERE), ELSEWHERE_BUCKET, f"tests/{uuid4().hex}").store
    return cast("Bucket", request.getfixturevalue("real")(request.param)).store
