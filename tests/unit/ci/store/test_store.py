"""The directory store where it differs from S3, which store is opened, and what S3's errors mean."""

from pathlib import Path

import pytest
from botocore import exceptions as boto

from kvsync.ci.errors import StoreError
from kvsync.ci.settings import StoreSettings, load_settings
from kvsync.ci.store.directory import DirectoryStore
from kvsync.ci.store.opening import open_store
from kvsync.ci.store.s3 import S3Store
from kvsync.ci.store.s3_failure import failure
from kvsync.ci.store.store import content_type
from kvsync.errors import ConfigError


def written(tmp_path: Path, text: str) -> Path:
    """Return a file with this content."""
    path = tmp_path / "source.txt"
    path.write_text(text)
    return path


def test_what_a_killed_copy_left_is_no_file_and_goes(tmp_path: Path) -> None:
    """An unfinished copy is in no list, and tidying removes it and nothing else."""
    store = DirectoryStore(tmp_path / "store")
    store.put("run/a", written(tmp_path, "x"))
    partial = tmp_path / "store" / "run" / ".0123.partial"
    partial.write_text("half")

    assert store.list() == ["run/a"]
    store.tidy("other/")
    assert partial.exists()
    store.tidy("run/")
    assert [path.name for path in partial.parent.iterdir()] == ["a"]


def test_no_directory_outlives_its_files(tmp_path: Path) -> None:
    """A deleted run leaves no empty directories; the root stays."""
    store = DirectoryStore(tmp_path / "store")
    store.put("proj/run/logs/a", written(tmp_path, "x"))

    store.delete(["proj/run/logs/a"])

    assert list((tmp_path / "store").iterdir()) == []


def test_a_link_in_the_directory_leads_nowhere_else(tmp_path: Path) -> None:
    """A key through a symbolic link out of the root is refused."""
    store = DirectoryStore(tmp_path / "store")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "out").symlink_to(tmp_path)

    with pytest.raises(ValueError, match="not a key below the root"):
        store.put("out/x", written(tmp_path, "x"))


def test_links_lead_to_whoever_serves_the_directory(tmp_path: Path) -> None:
    """Without a base the link is the file's own address."""
    assert DirectoryStore(tmp_path).url("a b#.html") == f"file://{tmp_path}/a%20b%23.html"
    assert (
        DirectoryStore(tmp_path, "https://ci.example/runs/").url("a b?/ü.html")
        == "https://ci.example/runs/a%20b%3F/%C3%BC.html"
    )


def test_a_directory_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    """The error says which file, why, and what to do."""
    (tmp_path / "store").write_text("a file")

    with pytest.raises(StoreError) as caught:
        DirectoryStore(tmp_path / "store").put("run/a", written(tmp_path, "x"))
    assert str(caught.value) == (
        f"cannot store {tmp_path}/store/run/a: Not a directory; free the disk or correct its rights"
    )


def test_the_settings_say_which_store(tmp_path: Path) -> None:
    """Nothing, a directory from the repository on, or a bucket."""
    settings = load_settings(tmp_path, {"KVSYNC_CI_STORE_URL": "kept"}).store

    assert open_store(StoreSettings()) is None
    assert isinstance(open_store(settings), DirectoryStore)
    assert settings.url == str(tmp_path / "kept")
    assert isinstance(open_store(StoreSettings(url="s3://bucket/prefix", region="eu-central-1")), S3Store)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"URL": "gs://bucket"}, "store.url: a folder or s3://bucket/prefix is needed (KVSYNC_CI_STORE_URL)"),
        ({"URL": "s3://x"}, "store.url: a bucket is written s3://bucket or s3://bucket/prefix"),
        ({"URL": "s3://bucket/../up"}, "store.url: a bucket is written s3://bucket or s3://bucket/prefix"),
        (
            {"ENDPOINT_URL": "https://me:hunter2@s3.local"},
            "store.endpoint_url: http:// or https:// without a user, a password or a query is needed",
        ),
        ({"LINK_BASE": "javascript:alert(1)"}, "store.link_base: http:// or https:// without"),
        ({"LINKS": "static"}, "store: static links need link_base"),
        ({"KMS_KEY": "k"}, 'store: kms_key needs encryption = "aws:kms"'),
    ],
    ids=["kind", "bucket", "prefix", "password", "script", "static", "key"],
)
def test_wrong_settings(tmp_path: Path, variables: dict[str, str], problem: str) -> None:
    """What cannot be a store is said before anything is sent, and a password is not repeated."""
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, {f"KVSYNC_CI_STORE_{name}": text for name, text in variables.items()})
    assert problem in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("report.html", "text/html; charset=utf-8"),
        ("report.json", "application/json; charset=utf-8"),
        ("history/e2e.jsonl", "application/x-ndjson; charset=utf-8"),
        ("junit/unit.xml", "application/xml; charset=utf-8"),
        ("trend.svg", "image/svg+xml; charset=utf-8"),
        ("logs/unit.log", "text/plain; charset=utf-8"),
        ("chart.png", "image/png"),
        ("core", "application/octet-stream"),
    ],
)
def test_content_types(name: str, expected: str) -> None:
    """Browsers show what a run leaves, as UTF-8."""
    assert content_type(name) == expected


def refused(code: str, status: int = 403, message: str = "No.") -> boto.ClientError:
    """Return what boto3 raises for an answer with this code."""
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(answer, "PutObject")  # type: ignore[arg-type]  # only what is read is there


@pytest.mark.parametrize(
    ("error", "problem", "mend", "passing"),
    [
        (refused("NoSuchBucket", 404), "the bucket does not exist", "make it or correct store.url", False),
        (refused("AccessDenied"), "access is denied", "allow s3:PutObject", False),
        (refused("403"), "access is denied", "allow s3:PutObject", False),
        (refused("InvalidAccessKeyId"), "the credentials are not known there", "set AWS_PROFILE", False),
        (refused("SignatureDoesNotMatch"), "the secret key is wrong", "set AWS_PROFILE", False),
        (refused("ExpiredToken", 400), "the session has expired", "aws sso login", False),
        (refused("RequestTimeTooSkewed"), "the clock of this machine differs", "NTP", False),
        (refused("PermanentRedirect", 301), "another region", "correct store.region", False),
        (refused("NoSuchUpload", 404), "another upload of the run", "try again later", True),
        (refused("SlowDown", 503, "Reduce."), "the server refused: SlowDown: Reduce.", "try again", True),
        (refused("QuotaExceeded", 403, "x\ny"), "the server refused: QuotaExceeded: x y", "correct", False),
        (boto.NoCredentialsError(), "no credentials (NoCredentialsError)", "set AWS_PROFILE", False),
        (
            boto.CredentialRetrievalError(provider="process", error_msg="hunter2"),
            "no credentials (CredentialRetrievalError)",
            "set AWS_PROFILE",
            False,
        ),
        (
            boto.EndpointConnectionError(endpoint_url="http://s3.local/b?X-Amz-Signature=hunter2"),
            'no answer: Could not connect to the endpoint URL: "http://s3.local/b";',
            "check store.endpoint_url",
            True,
        ),
        (boto.ReadTimeoutError(endpoint_url="http://s3.local"), "no answer: Read timeout", "check", True),
        (boto.NoRegionError(), "You must specify a region", "correct the store's settings", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_an_error_means(error: Exception, problem: str, mend: str, passing: bool) -> None:
    """Every failure says what, where, why and the mend, and whether to try again; none says a secret."""
    said = failure("store s3://b/k", error)

    assert str(said).startswith("cannot store s3://b/k: ")
    assert problem in str(said)
    assert mend in said.mend
    assert said.passing is passing
    assert "hunter2" not in str(said)
