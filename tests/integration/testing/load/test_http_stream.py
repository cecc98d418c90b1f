"""Requests to any HTTP service: as they are declared, at the rates that are declared, whatever it answers."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kvsync.testing.load.generator import Generator
from kvsync.testing.load.http.requests import RequestKind
from kvsync.testing.load.http.stream import LATE, HttpStream, broken_in
from kvsync.testing.load.http.tally import RequestTally, tallied
from kvsync.testing.load.http.thresholds import parse
from kvsync.testing.load.plan import Phase
from kvsync.testing.results.history import History, Record, read_lines
from kvsync.testing.traffic.service import Sample, Service

WRITE = RequestKind(
    name="write",
    method="POST",
    path="/items",
    json_body={"n": "{n}"},
    headers={"X-Key": "{n}"},
    expect=[201],
    capture={"id": "id"},
)
READ = RequestKind(name="read", path="/items/{id}", weight=4)


class Shop(ThreadingHTTPServer):
    """Keeps what is posted; /hang answers late, /drip byte by byte, /bad with 500, and /busy once it may."""

    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.items: list[bytes] = []
        self.seen: Counter[str] = Counter()
        self.stopped = threading.Event()
        self.busy = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """One connection, which stays open."""

    protocol_version = "HTTP/1.1"
    server: Shop

    def do_POST(self) -> None:
        """Keep it."""
        body = self.rfile.read(int(self.headers["content-length"]))
        assert json.loads(body) == {"n": int(self.headers["X-Key"])}
        self.server.items.append(body)
        self.answer(201, json.dumps({"id": len(self.server.items) - 1}).encode())

    def do_GET(self) -> None:
        """Answer, or do not."""
        self.server.seen[self.path] += 1
        if self.path == "/hang":
            self.server.stopped.wait(30)
            self.close_connection = True
        elif self.path == "/bad":
            self.answer(500, b"it broke")
        elif self.path == "/drip":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"x")
                if self.server.stopped.wait(0.05):
                    return
        elif self.path == "/busy":
            with self.server.busy:
                time.sleep(0.02)
            self.answer(200, b"ok")
        else:
            number = int(self.path.rpartition("/")[2] or 0)
            self.answer(200, self.server.items[number] if self.server.items else b"none")

    def answer(self, status: int, body: bytes) -> None:
        """Send it."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        """A client that gave up is no news."""
        try:
            super().handle()
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A service that listens."""
    with Shop() as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.stopped.set()
        server.shutdown()
        thread.join()


def url(server: Shop) -> str:
    """Where it listens."""
    return f"http://127.0.0.1:{server.server_port}"


def hold(rate_per_s: float = 100, seconds: float = 0.6) -> list[Phase]:
    """Return one phase."""
    return [Phase(name="hold", seconds=seconds, rate_per_s=rate_per_s)]


def offered(stream: HttpStream, run_dir: Path) -> tuple[dict[tuple[int, str], RequestTally], list[Record]]:
    """Offer a load to its end; return what came of it, and what is said of its phases."""
    with Generator([stream], run_dir=run_dir, name="load", test="t") as generator:
        generator.await_end(30)
    ends = [each for each in read_lines(generator.history) if each["f"] == "phase" and each["type"] == "stop"]
    assert not list((run_dir / "logs").glob("*.plan.json"))
    return tallied(generator.records()), ends


def test_a_long_load_is_kept_in_sums_and_judged_in_full(shop: Shop, tmp_path: Path) -> None:
    """Of those served and of those that failed, only the first have a record of their own."""
    kinds = [RequestKind(name="good", path="/0"), RequestKind(name="bad", path="/bad")]
    stream = HttpStream(target=url(shop), kinds=kinds, phases=hold(200), seed=1)

    (tallies, _), (summed, _) = (
        offered(replace(stream, most_records=most), tmp_path / str(most)) for most in (None, 3)
    )
    records = [each["type"] for each in read_lines(tmp_path / "3" / "history" / "load.jsonl")]

    assert {place: (each.count, each.failed) for place, each in summed.items()} == {
        place: (each.count, each.failed) for place, each in tallies.items()
    }
    assert summed[0, "bad"].errors == {"500 it broke": summed[0, "bad"].count}
    assert (records.count("ok"), records.count("fail")) == (3, 3)


def test_what_is_declared_arrives(shop: Shop, tmp_path: Path) -> None:
    """Bodies, headers, values and captured values; each request that was due has an answer."""
    stream = HttpStream(
        target=url(shop), kinds=[WRITE, READ], values={"n": {"from": 1, "to": 9}}, phases=hold(), seed=1
    )

    found, (end,) = offered(stream, tmp_path)

    assert [each.failed for each in found.values()] == [0, 0], found
    assert sum(each.count for each in found.values()) == int(str(end["intended"])) >= 30
    assert found[0, "write"].count == len(shop.items) < found[0, "read"].count == sum(shop.seen.values())


@pytest.mark.parametrize(
    ("path", "error"),
    [("/bad", "500 it broke"), ("/hang", "no answer within 0.3 s"), ("/drip", "no answer within 0.3 s")],
)
def test_what_is_not_an_answer_is_an_error(shop: Shop, tmp_path: Path, path: str, error: str) -> None:
    """A status that is not expected, and an answer that takes too long, also when it trickles in."""
    kind = RequestKind(name="x", path=path, timeout_s=0.3)

    found, _ = offered(HttpStream(target=url(shop), kinds=[kind], phases=hold(60), seed=1), tmp_path)

    assert found[0, "x"].failed == found[0, "x"].count == sum(found[0, "x"].errors.values()) >= 15
    assert set(found[0, "x"].errors) == {error}


def test_what_is_late_by_more_than_its_time_limit_is_not_sent(shop: Shop, tmp_path: Path) -> None:
    """A load takes no longer than its phases and one answer; what was left out is late, and an error."""
    history = History(tmp_path / "history.jsonl", proc="load")
    stream = HttpStream(
        target=url(shop), kinds=[RequestKind(name="x", path="/0", timeout_s=0.3)], phases=hold(), seed=1
    )
    with stream.sender(history) as sender:
        request = next(iter(stream.coming(sender, time.monotonic(), threading.Event())))
        sender.send(request, time.monotonic() - 0.5)

    tally = sender.tally(0, "x")
    assert (tally.failed, tally.late, tally.failed_in_time) == (1, 1, 0)
    assert shop.seen == {}


def test_a_service_that_is_not_there_fails_every_request(tmp_path: Path) -> None:
    """Each is sent all the same; the records are what the verdict of a fault is made of, too."""
    stream = HttpStream(target="http://127.0.0.1:9", kinds=[READ, WRITE], phases=[], seed=1)

    with Generator([stream.steady(60, 0.5)], run_dir=tmp_path, name="load", test="t") as generator:
        generator.await_end(30)

    samples = [Sample.of(each, generator.began) for each in generator.records()]
    assert len(samples) >= 10
    assert samples[0].error.startswith("ConnectionRefusedError")
    assert Service.of(samples, []).availability == 0.0


def test_a_climb_ends_where_a_threshold_breaks(shop: Shop, tmp_path: Path) -> None:
    """The service answers 50 requests a second; what follows the climb is sent all the same."""
    climb = [Phase(name="climb", seconds=1, rate_per_s=rate, climbs=True) for rate in (20, 200, 400, 800)]
    stream = HttpStream(
        target=url(shop),
        kinds=[RequestKind(name="x", path="/busy")],
        phases=[*climb, *hold(10)],
        thresholds=["p50 < 250 ms", "rate > 1000"],
        seed=1,
    )

    found, ends = offered(stream, tmp_path)

    assert [(each["phase"], bool(each.get("broken"))) for each in ends] == [(0, False), (1, True), (4, False)]
    assert {phase for phase, _ in found} == {0, 1, 4}


@pytest.mark.parametrize(
    ("served", "failed", "late", "lost", "broken"),
    [
        (100, 0, 0, 0, []),
        (90, 10, 0, 0, ["errors < 5 %: 10.00 %"]),
        (100, 0, 10, 0, [f"{LATE}: 10 of 100 requests"]),
        (100, 10, 0, 10, ["10 of 120 requests had no answer yet"]),
        (0, 0, 0, 0, []),
    ],
)
def test_what_breaks_a_step(served: int, failed: int, late: int, lost: int, broken: list[str]) -> None:
    """A threshold, requests that are left without an answer, or our own sender; not what was not measured."""
    tally = RequestTally(failed=failed, late=late)
    for _ in range(served):
        tally.served.add(0.01)
    step = Phase(name="climb", seconds=1, rate_per_s=1, climbs=True)
    thresholds = [parse(each) for each in ("errors < 5 %", "p95 in other < 1 us", "rate > 9999")]

    assert broken_in({"x": tally}, lost, step, thresholds) == broken
