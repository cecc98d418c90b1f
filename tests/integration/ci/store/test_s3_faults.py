"""What S3 is asked for, and what happens when it is cut off, refuses, or is not there."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from kvsync.ci.errors import StoreError
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.store.s3 import S3Store
from kvsync.ci.store.upload import is_uploaded, upload_run
from kvsync.testing.clusters.local.fault_proxy import CLEAR, FaultProxy, Listener, Rules
from kvsync.testing.processes.wait import wait_for
from tests.integration.ci.store.conftest import AWS, PART, Bucket, client_of

RUN = "20261120-120000-ab12"
Answer = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run with a report, a history of three parts, and one more log."""
    folder = RunFolder(tmp_path / RUN)
    (folder.path / "history").mkdir(parents=True)
    (folder.path / "history" / "load.jsonl").write_bytes(bytes(range(256)) * 45_000)
    folder.page.write_text("<p>hello")
    folder.report.write_text("{}")
    return folder


@pytest.fixture
def refusing() -> Iterator[Answer]:
    """Start servers that answer every request with one error of S3's, and have no bucket; returns endpoints.

    `date` is what their clock says.
    """
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, body: str, date: str = "") -> str:
        class Refusal(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def do_HEAD(self) -> None:
                self.send_response(404)
                self.end_headers()

            def date_time_string(self, timestamp: float | None = None) -> str:
                return date or super().date_time_string(timestamp)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def through(proxy: FaultProxy, bucket: Bucket) -> tuple[Listener, S3Store]:
    """Return a store that reaches its bucket through a proxy."""
    target = urlsplit(bucket.endpoint)
    listener = proxy.listen("127.0.0.1", 0, (str(target.hostname), int(target.port or 0)))
    client = client_of(f"http://127.0.0.1:{listener.port}")
    return listener, S3Store(client, bucket.settings())


def test_what_is_stored_says_what_it_is(bucket: Bucket, folder: RunFolder) -> None:
    """Objects have a content type, a checksum, their hash, and are encrypted when asked for."""
    S3Store(bucket.client, bucket.settings(encryption="aws:kms", kms_key="key-1")).put("r.html", folder.page)

    head = bucket.client.head_object(Bucket=bucket.name, Key="some/prefix/r.html", ChecksumMode="ENABLED")
    assert head["ContentType"] == "text/html; charset=utf-8"
    assert head["ServerSideEncryption"] == "aws:kms"
    assert head["SSEKMSKeyId"] == "key-1"
    assert head["ChecksumSHA256"] == "LDXOuY13V6dESQeduYWNukrx6HxBkypnVHHz2uoBiG8="
    assert head["Metadata"] == {"sha256": "2c35ceb98d7757a74449079db9858dba4af1e87c41932a675471f3daea01886f"}


def test_links_are_signed_or_static(bucket: Bucket, folder: RunFolder) -> None:
    """A signed link opens the file without credentials and ends when asked; a static one is base and key."""
    bucket.store.put("run/a b.html", folder.page)

    signed = bucket.store.url("run/a b.html")
    assert httpx.get(signed).text == "<p>hello"
    assert parse_qs(urlsplit(signed).query)["X-Amz-Expires"] == ["604800"]
    static = S3Store(bucket.client, bucket.settings(links="static", link_base="https://ci.example/"))
    assert static.url("run/a b.html") == "https://ci.example/some/prefix/run/a%20b.html"


def test_an_upload_that_is_cut_off_goes_on_and_leaks_nothing(
    bucket: Bucket, folder: RunFolder, proxy: FaultProxy
) -> None:
    """Without a network nothing can be aborted; the next upload does it, sends the rest, and is complete."""
    listener, store = through(proxy, bucket)
    errors: list[BaseException] = []

    def upload() -> None:
        try:
            upload_run(folder, store, "proj")
        except StoreError as exc:
            errors.append(exc)

    listener.apply(Rules(bytes_per_s=20 * 1024**2))
    running = threading.Thread(target=upload)
    running.start()
    wait_for(lambda: listener.counters().passed_bytes["up"] > 1.5 * PART, what="a part is up", timeout_s=20)
    listener.apply(Rules(refuse=True))
    listener.cut()
    running.join(timeout=50)

    assert [str(error).partition(": ")[0] for error in errors] == [
        f"cannot store s3://{bucket.name}/some/prefix/proj/{RUN}/history/load.jsonl"
    ]
    assert bucket.unfinished() == [f"some/prefix/proj/{RUN}/history/load.jsonl"]
    assert not is_uploaded(folder, bucket.store, "proj")
    assert bucket.store.list() == [f"proj/{RUN}/report.html", f"proj/{RUN}/report.json"]

    listener.apply(CLEAR)
    done = upload_run(folder, store, "proj")

    assert (done.files, done.bytes) == (1, 11_520_000)
    assert bucket.unfinished() == []
    assert is_uploaded(folder, bucket.store, "proj")


def test_the_uploads_of_others_are_left_alone(bucket: Bucket, folder: RunFolder) -> None:
    """Only what is below the prefix, and began before the time, is aborted."""
    for key in ("some/prefix/proj/run-1/a", "some/prefix/proj/run-10/a", "elsewhere/a"):
        bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)

    bucket.store.tidy("proj/run-1/", before=datetime(2001, 1, 1, tzinfo=UTC))
    assert len(bucket.unfinished()) == 3
    bucket.store.tidy("proj/run-1/")
    assert sorted(bucket.unfinished()) == ["elsewhere/a", "some/prefix/proj/run-10/a"]


def test_a_changed_run_has_no_manifest_until_it_is_whole(
    bucket: Bucket, folder: RunFolder, proxy: FaultProxy
) -> None:
    """While a rerun's files replace the first ones, nothing claims that the run is complete."""
    listener, store = through(proxy, bucket)
    upload_run(folder, store, "proj")
    with (folder.path / "history" / "load.jsonl").open("ab") as file:
        file.write(b"more")
    listener.apply(Rules(bytes_per_s=20 * 1024**2))
    before = listener.counters().passed_bytes["up"]

    running = threading.Thread(target=upload_run, args=(folder, store, "proj"))
    running.start()
    wait_for(
        lambda: listener.counters().passed_bytes["up"] - before > PART, what="a part is up", timeout_s=20
    )
    assert f"proj/{RUN}/manifest.json" not in bucket.store.list()
    listener.apply(CLEAR)
    running.join(timeout=30)
    assert is_uploaded(folder, bucket.store, "proj")


def error(code: str) -> str:
    """Return S3's way to say an error."""
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message></Error>"


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (403, error("AccessDenied"), "access is denied (AccessDenied); allow s3:PutObject"),
        (403, error("RequestTimeTooSkewed"), "the clock of this machine differs from the server's"),
        (403, error("SignatureDoesNotMatch"), "the secret key is wrong (SignatureDoesNotMatch); set AWS_"),
        (400, error("ExpiredToken"), "the session has expired (ExpiredToken); renew the session"),
        (404, "<html>a page", "the server refused: 404: Not Found; correct the store's settings"),
    ],
    ids=["denied", "skew", "wrong key", "expired", "no S3"],
)
def test_a_refusal_is_clear(
    refusing: Answer, folder: RunFolder, bucket: Bucket, status: int, body: str, problem: str
) -> None:
    """The error says where and what to do, without a credential; the run's folder is as it was."""
    client = client_of(refusing(status, body))

    with pytest.raises(StoreError) as caught:
        upload_run(folder, S3Store(client, bucket.settings()), "proj")

    assert problem in str(caught.value)
    assert f"in s3://{bucket.name}/some/prefix/proj/{RUN}/" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in AWS.values())
    assert folder.page.read_text() == "<p>hello"


def test_a_wrong_clock_is_named_though_access_is_denied(
    refusing: Answer, folder: RunFolder, bucket: Bucket
) -> None:
    """The answer has the server's time."""
    client = client_of(refusing(403, error("AccessDenied"), "Fri, 20 Nov 2020 10:00:00 GMT"))

    with pytest.raises(StoreError, match="the clock of this machine differs from the server's"):
        upload_run(folder, S3Store(client, bucket.settings()), "proj")


def test_an_internal_error_for_want_of_a_bucket(refusing: Answer, folder: RunFolder, bucket: Bucket) -> None:
    """The server is asked whether there is one; it will not pass by itself."""
    client = client_of(refusing(500, error("InternalError")))

    with pytest.raises(StoreError, match=r"the bucket does not exist \(NoSuchBucket\)") as caught:
        S3Store(client, bucket.settings()).list()
    assert not caught.value.passing


@pytest.mark.parametrize("code", ["NotImplemented", "MethodNotAllowed", "NoSuchUpload"])
def test_a_server_that_lists_no_uploads_has_none_to_tidy(refusing: Answer, bucket: Bucket, code: str) -> None:
    """Its own cleaning has to do."""
    S3Store(client_of(refusing(405, error(code))), bucket.settings()).tidy("proj/")


def test_a_missing_bucket(bucket: Bucket, folder: RunFolder) -> None:
    """The server's own answer is understood."""
    with pytest.raises(StoreError, match=r"the bucket does not exist \(NoSuchBucket\); make it or correct"):
        upload_run(folder, S3Store(bucket.client, bucket.settings(url="s3://absent-bucket")), "proj")


def test_nobody_there(bucket: Bucket, folder: RunFolder, proxy: FaultProxy) -> None:
    """A refused connection is an error that may pass, with the address."""
    listener, store = through(proxy, bucket)
    listener.apply(Rules(refuse=True))

    with pytest.raises(StoreError, match="no answer: Could not connect to the endpoint URL") as caught:
        upload_run(folder, store, "proj")
    assert caught.value.passing


def test_nothing_logged_is_secret(
    bucket: Bucket, folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    """The secret key is in no log of an upload, and a signature not in what logs are given."""
    with caplog.at_level(logging.INFO):
        done = upload_run(folder, bucket.store, "proj")

    assert "X-Amz-Signature" in done.url
    assert "X-Amz-Signature" not in f"{done} {done.address} {caplog.text}"
    assert AWS["AWS_SECRET_ACCESS_KEY"] not in caplog.text


def test_the_lifecycle_rule_leaves_those_of_others(bucket: Bucket) -> None:
    """Ours is set once, also when done again with other days; what was there stays."""
    theirs = {
        "ID": "theirs",
        "Status": "Enabled",
        "Filter": {"Prefix": "x/"},
        "Expiration": {"Days": 3},
    }
    bucket.client.put_bucket_lifecycle_configuration(
        Bucket=bucket.name,
        LifecycleConfiguration={"Rules": [theirs]},  # type: ignore[list-item]  # moto's own form
    )

    bucket.store.put_lifecycle()
    said = S3Store(bucket.client, bucket.settings(keep_failed_days=400)).put_lifecycle()

    assert said == "the bucket removes files after 400 days, parts of uploads after 2"
    rules = bucket.client.get_bucket_lifecycle_configuration(Bucket=bucket.name)["Rules"]
    assert [rule["ID"] for rule in rules] == ["theirs", "kvsync-ci some/prefix/kvsync/"]
    assert json.loads(json.dumps(rules[1])) == {
        "ID": "kvsync-ci some/prefix/kvsync/",
        "Status": "Enabled",
        "Filter": {"Prefix": "some/prefix/kvsync/"},
        "Expiration": {"Days": 400},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
    }
