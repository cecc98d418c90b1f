"""Notifications on their way, to a real HTTP receiver."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pydantic import SecretStr

from deployments.service.staleness import StaleWatch
from kvsync.ci.archive.archive import Archive
from kvsync.ci.notify.people import Message, send
from kvsync.ci.report.report import Report
from kvsync.ci.settings import NotifySettings, Settings
from kvsync.testing.results.outcome import Check, merge

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
"""Of apprise's imports."""

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MESSAGE = Message("a <title>", "the & body")


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted to it, and answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted: list[dict[str, str]] = []
        self.status = 200

    @property
    def url(self) -> SecretStr:
        """Where apprise posts to, with a password."""
        return SecretStr(f"json://me:passw0rd@127.0.0.1:{self.server_address[1]}/hook-secret")


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        """Keep one."""
        self.server.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the server calls it
        """Say nothing."""


def _same(moment: datetime) -> datetime:
    return moment


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A service that takes notifications."""
    with Receiver() as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_message_arrives_as_it_is(receiver: Receiver) -> None:
    """Title and text are plain text."""
    assert send(MESSAGE, receiver.url) == ""
    assert [(each["title"], each["message"]) for each in receiver.posted] == [("a <title>", "the & body")]


@pytest.mark.parametrize(
    "urls", ["json://me:passw0rd@127.0.0.1:1/hook-secret", "nonsense://passw0rd", "passw0rd"]
)
def test_what_cannot_be_sent_is_said_without_the_url(urls: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing listens, or the service is unknown: a sentence, and nothing in any log."""
    caplog.set_level(logging.DEBUG)

    assert "KVSYNC_CI_NOTIFY_URLS" in send(MESSAGE, SecretStr(urls))
    assert "passw0rd" not in caplog.text
    assert "hook-secret" not in caplog.text


def test_a_service_that_refuses_is_a_problem(receiver: Receiver) -> None:
    """Another one is still told."""
    receiver.status = 500

    assert send(MESSAGE, receiver.url) == "a service of KVSYNC_CI_NOTIFY_URLS did not take the notification"


def test_silence_is_told_once_a_day(receiver: Receiver, tmp_path: Path) -> None:
    """From the time on that the settings say, and not again after a restart on the same day."""
    check = Check(name="t", kind="passed")
    nightly = Report(
        run="run-1",
        started_at=NOON,
        duration_s=1.0,
        command="",
        stages=[merge("unit", [check], started_at=NOON)],
        parameters={"trigger": "schedule"},
        versions={},
        machine={},
    )
    with Archive.open("", tmp_path) as archive:
        archive.record(nightly)
    settings = Settings(notify=NotifySettings(urls=receiver.url, stale_after_hours=30))
    said = []
    for hours in (1, 31, 32, 54, 56):
        now = NOON + timedelta(hours=hours)
        watch = StaleWatch(settings=settings, report_dir=tmp_path, now=partial(_same, now))
        said += [watch.look(), watch.look()]

    assert [text for text in said if text] == [
        "kvsync-ci: no scheduled run for 31 hours; notified",
        "kvsync-ci: no scheduled run for 56 hours; notified",
    ]
    assert [each["title"] for each in receiver.posted] == [
        "kvsync-ci: no scheduled run for 31 hours",
        "kvsync-ci: no scheduled run for 56 hours",
    ]
