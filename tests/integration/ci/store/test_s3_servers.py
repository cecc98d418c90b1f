"""What servers of S3's protocol do differently: moto's, rclone's and SeaweedFS, over HTTP and TLS."""

import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from kvsync.ci.errors import StoreError
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.store.s3 import PRUNE, S3Store, possible_etags
from kvsync.ci.store.upload import is_uploaded, upload_run
from tests.integration.ci.store.conftest import PART, Bucket, client_of

RUN = "20261120-120000-ab12"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run with a report."""
    folder = RunFolder(tmp_path / RUN)
    folder.path.mkdir()
    folder.page.write_text("<p>hello")
    folder.report.write_text("{}")
    return folder


def test_a_run_is_sent_once(server_bucket: Bucket, folder: RunFolder) -> None:
    """Whatever a server does to the names of metadata, the second upload finds everything there."""
    sent = [upload_run(folder, server_bucket.store, "proj").files for _ in range(2)]

    assert sent == [2, 0]


def test_the_lifecycle_is_set_or_said_to_be_missing(server_bucket: Bucket) -> None:
    """A server without rules answers with other documents, or takes the rule for a new bucket."""
    try:
        said = [server_bucket.store.put_lifecycle() for _ in range(2)]
    except StoreError as exc:
        said = [str(exc).partition(": ")[2]]

    kept = "the bucket removes files after 365 days, parts of uploads after 2"
    assert said in ([kept, kept], [f"the server keeps no lifecycle rules; {PRUNE}"])


def test_a_missing_bucket_is_named(server_bucket: Bucket, folder: RunFolder) -> None:
    """Also by a server that answers InternalError."""
    absent = S3Store(server_bucket.client, server_bucket.settings(url="s3://absent-bucket"))

    with pytest.raises(StoreError, match=r"the bucket does not exist \(NoSuchBucket\); make it or correct"):
        upload_run(folder, absent, "proj")
    assert not server_bucket.client.list_objects_v2(Bucket=server_bucket.name, Prefix="proj").get("Contents")


def test_the_etag_of_a_large_file_is_known(server_bucket: Bucket, tmp_path: Path) -> None:
    """So it is not read back to be compared."""
    source = tmp_path / "large"
    source.write_bytes(bytes(range(256)) * 30_000)
    server_bucket.store.put("large", source)

    head = server_bucket.client.head_object(Bucket=server_bucket.name, Key=f"{server_bucket.prefix}/large")
    assert head["ETag"].strip('"') in possible_etags(source, PART)


Change = Callable[[bytes], bytes]


@pytest.fixture
def altering(bucket: Bucket) -> Iterator[Callable[[Change, str], Bucket]]:
    """Put a server in between that alters what is stored; it may answer with an ETag of its own."""
    servers: list[ThreadingHTTPServer] = []
    client = httpx.Client()

    def start(change: Change, etag: str) -> Bucket:
        class Altering(BaseHTTPRequestHandler):
            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.command == "PUT":
                    body = change(body)
                sent = {name: text for name, text in self.headers.items() if name != "Content-Length"}
                answer = client.request(self.command, bucket.endpoint + self.path, content=body, headers=sent)
                self.send_response(answer.status_code)
                for name, text in answer.headers.items():
                    if name not in ("content-length", "date", "server", "connection", "content-encoding"):
                        self.send_header(name, etag if etag and name == "etag" else text)
                length = answer.headers["content-length"] if self.command == "HEAD" else len(answer.content)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else answer.content)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward  # noqa: N815 - names of http.server

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Altering)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return Bucket(client_of(f"http://127.0.0.1:{server.server_port}"), bucket.name, bucket.prefix)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
    client.close()


@pytest.mark.parametrize(
    ("change", "etag", "kept"),
    [
        (lambda body: b"8;chunk-signature=0\r\n" + body, "", "29"),
        (lambda body: body.replace(b"h", b"j"), "", "as many others"),
        (lambda body: body.replace(b"h", b"j"), '"of-its-own"', "as many others"),
    ],
    ids=["framing", "other bytes", "no MD5"],
)
def test_a_server_that_alters_data_is_named_and_gets_no_manifest(
    bucket: Bucket,
    altering: Callable[[Change, str], Bucket],
    folder: RunFolder,
    change: Change,
    etag: str,
    kept: str,
) -> None:
    """And what it made of the files is removed: their metadata claim that they are whole."""
    folder.report.unlink()
    store = altering(change, etag).store

    with pytest.raises(StoreError) as caught:
        upload_run(folder, store, "proj")

    assert re.search(
        r"the server \(BaseHTTP.*\) alters data: it was sent 8 bytes and keeps " + kept, str(caught.value)
    )
    assert bucket.store.list() == []
    assert not is_uploaded(folder, store, "proj")


def test_an_etag_that_is_no_md5_is_believed_after_reading_back(
    altering: Callable[[Change, str], Bucket], folder: RunFolder
) -> None:
    """As servers have it that encrypt."""
    store = altering(lambda body: body, '"of-its-own"').store
    upload_run(folder, store, "proj")

    assert is_uploaded(folder, store, "proj")
