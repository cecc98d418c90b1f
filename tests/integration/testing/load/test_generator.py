"""Requests leave when they are due, whatever becomes of those before them."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kvsync.testing.load.generator import Generator, RequestStream
from kvsync.testing.load.plan import Phase
from kvsync.testing.load.service import Served, served
from kvsync.testing.processes.ledger import leftovers
from kvsync.testing.processes.program import ProgramEnded
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.traffic.service import Sample

PHASES = (Phase(name="stall", seconds=1, rate_per_s=60), Phase(name="after", seconds=0.5, rate_per_s=60))
STALL_S = 1.0


class StallingServer(ThreadingHTTPServer):
    """Answers no request for a second from the first one on, and then all at once."""

    request_queue_size = 128
    until: float | None = None

    def stall(self) -> None:
        """Wait until it answers."""
        if self.until is None:
            self.until = time.monotonic() + STALL_S
        time.sleep(max(0.0, self.until - time.monotonic()))


class Handler(BaseHTTPRequestHandler):
    """A completion, when the server does not stall."""

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers["content-length"]))
        assert isinstance(self.server, StallingServer)
        self.server.stall()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"usage": {}}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """Where the server listens."""
    with StallingServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def offered(url: str, tmp_path: Path) -> list[Served]:
    """Offer the load to its end and return how it was served."""
    stream = RequestStream(f="request", url=url, model="m", phases=PHASES, seed=1)
    with Generator([stream], run_dir=tmp_path, name="load", test="t") as generator:
        generator.await_end(30)
        assert not generator.is_running
    samples = [Sample.of(record, generator.began) for record in generator.records()]
    assert leftovers([tmp_path / "ledger.jsonl"]) == []
    return served(PHASES, [each.at_s for each in stream.requests()], samples, [])


def test_a_stall_is_in_the_latency_of_every_request_that_was_due(url: str, tmp_path: Path) -> None:
    """Not only in that of one, as if users waited for each other: nothing is omitted, nothing is lost."""
    stall, after = offered(url, tmp_path)

    assert (stall.lost, after.lost) == (0, 0)
    assert stall.intended == len(stall.samples) >= 40
    assert stall.failed == after.failed == 0
    in_first_half = [each for each in stall.samples if each.due < 0.4]
    assert len(in_first_half) >= 15
    assert min(each.latency_s for each in in_first_half) >= STALL_S - 0.4 - 0.25


def test_a_gateway_that_is_not_there_fails_every_request(tmp_path: Path) -> None:
    """Each is sent all the same, and has its error."""
    stall, after = offered("http://127.0.0.1:9", tmp_path)

    assert (stall.lost, stall.service.availability) == (0, 0.0)
    assert (after.lost, after.service.availability) == (0, 0.0)
    assert stall.samples[0].error.startswith("ConnectError")


def test_a_generator_that_cannot_begin_says_why(tmp_path: Path) -> None:
    """Its own words are in the error."""
    stream = RequestStream(f="request", url="http://nowhere", model="m", phases=PHASES, seed=1)
    (tmp_path / "history").touch()

    with (
        pytest.raises(
            ProgramEnded, match=r"(?s)the load generator ended by itself with exit code 1;.*FileExistsError"
        ),
        Generator([stream], run_dir=tmp_path, name="load", test="t"),
    ):
        pass
    assert leftovers([tmp_path / "ledger.jsonl"]) == []


def test_leaving_ends_the_load_and_waits_for_its_answers(url: str, tmp_path: Path) -> None:
    """What is not due yet is not sent, and what was sent has its answer."""
    endless = (Phase(name="endless", seconds=60, rate_per_s=60),)
    stream = RequestStream(f="request", url=url, model="m", phases=endless, seed=1)

    with Generator([stream], run_dir=tmp_path, name="load", test="t") as generator:
        wait_for(lambda: time.monotonic() > generator.began + 0.5, what="some requests", timeout_s=10)
        left = time.monotonic()

    samples = [Sample.of(record, 0.0) for record in generator.records()]
    due = [each.at_s for each in stream.requests() if generator.began + each.at_s < left - 0.2]
    assert len(due) > 5
    assert len(samples) >= len(due)
    assert all(each.ok for each in samples)
    assert max(each.due for each in samples) < left + 0.5
