"""Secrets are found among variables and masked in texts, files and logs."""

import json
import logging
from pathlib import Path

import pytest

from kvsync.ci.stages.redaction import redact, redact_folder, redact_logs, secrets_of

SECRET = 'pa"ss&w/örd'  # noqa: S105 - of nothing
SECRETS = frozenset([SECRET])
MASK = "*" * len(SECRET)


def test_secrets_are_the_values_of_secret_variables() -> None:
    """By the name, or as the password in a URL; no short ones, and no words of every day."""
    found = secrets_of(
        {
            "GITHUB_TOKEN": "ghp_123456",
            "AWS_SECRET_ACCESS_KEY": "aws/secret+key",
            "AWS_REGION": "us-east-1",
            "SSH_AUTH_SOCK": "/run/agent",
            "SHORT_TOKEN": "12345",
            "DATABASE": "postgresql://me:p%40ssword@host/db",
            "SIGNING_KEY": "-----BEGIN-----\nabcdefgh\n-----END-----",
            "PATH": "/usr/bin:/bin",
        }
    )

    assert found == {
        "ghp_123456",
        "aws/secret+key",
        "postgresql://me:p%40ssword@host/db",
        "p%40ssword",
        "p@ssword",
        "-----BEGIN-----\nabcdefgh\n-----END-----",
        "-----BEGIN-----",
        "abcdefgh",
        "-----END-----",
    }


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        "pa&quot;ss&amp;w/örd",
        "pa%22ss%26w%2F%C3%B6rd",
    ],
    ids=["plain", "JSON", "JSON with letters", "HTML", "URL"],
)
def test_a_secret_is_masked_however_it_is_written(written: str) -> None:
    """What stands around it stays, and so does the length."""
    assert redact(f"<{written}>, {written}", SECRETS) == f"<{'*' * len(written)}>, {'*' * len(written)}"


def test_a_secret_within_another_does_not_save_the_rest() -> None:
    """The longer one is masked as a whole."""
    assert redact("abcdef-ghijkl", ["abcdef", "abcdef-ghijkl"]) == "*************"


def test_files_are_masked_in_place(tmp_path: Path) -> None:
    """At every depth, whatever else is in them, and a file can be appended to; the rest is untouched."""
    deep = tmp_path / "a" / "b.log"
    deep.parent.mkdir()
    deep.write_bytes(b"\xff\x00" + SECRET.encode() * 2)
    (tmp_path / "empty").touch()
    (tmp_path / "clean").write_text("nothing")
    clean = (tmp_path / "clean").stat().st_mtime_ns
    (tmp_path / "workspace").mkdir()
    tested = tmp_path / "workspace" / "test_a.py"
    tested.write_text(SECRET)
    outside = tmp_path.parent / "outside"
    outside.write_text(SECRET)
    (tmp_path / "link").symlink_to(outside)
    with deep.open("ab", buffering=0) as log:
        masked = redact_folder(tmp_path, SECRETS)
        log.write(b"more")

    assert masked == [deep]
    assert deep.read_bytes() == b"\xff\x00" + b"*" * 2 * len(SECRET.encode()) + b"more"
    assert (tmp_path / "clean").stat().st_mtime_ns == clean
    assert outside.read_text() == SECRET
    assert tested.read_text() == SECRET


def test_logs_are_masked_wherever_they_go(caplog: pytest.LogCaptureFixture) -> None:
    """In the message, in its arguments and in the trace of an exception."""
    before = logging.getLogRecordFactory()
    redact_logs(SECRETS)
    try:
        try:
            raise ValueError(SECRET)
        except ValueError:
            logging.getLogger("anything").exception("%s and %d", SECRET, 7)
    finally:
        logging.setLogRecordFactory(before)

    assert f"{MASK} and 7" in caplog.text
    assert f"ValueError: {MASK}" in caplog.text
    assert SECRET not in caplog.text
