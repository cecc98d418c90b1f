"""Requests are sent when they are due, and whatever happens to them is an answer."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kvsync.testing.results.history import History, read
from kvsync.testing.traffic.sender import Answer, BackgroundTraffic, Sender, availability
from kvsync.testing.traffic.trace import TraceRequest

SLOW_S = 0.3
HEADERS = {
    "x-kvsync-pod": "p",
    "x-kvsync-selection": "prefix_match",
    "x-kvsync-matched-blocks": "2",
    "x-kvsync-predicted-cached-tokens": "32",
    "x-kvsync-source-state": "exact",
}


class Gateway(BaseHTTPRequestHandler):
    """Answers by model: "busy" is refused, "slow" takes its time, any other is served."""

    release = threading.Event()

    def do_POST(self) -> None:
        """Answer a completion."""
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if request["model"] == "slow":
            self.release.wait(SLOW_S)
        self.send_response(503 if request["model"] == "busy" else 200)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        usage = {"prompt_tokens": len(request["prompt"]), "prompt_tokens_details": {"cached_tokens": 16}}
        self.wfile.write(
            b"no pod is ready" if request["model"] == "busy" else json.dumps({"usage": usage}).encode()
        )

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """Where a gateway listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def history(tmp_path: Path) -> History:
    """A history of its own."""
    return History(tmp_path / "h.jsonl", "test")


def request(number: int, model: str, at_s: float = 0.0) -> TraceRequest:
    """A request of five tokens."""
    return TraceRequest(number=number, at_s=at_s, model=model, token_ids=(1, 2, 3, 4, 5), max_tokens=1)


def test_an_answer_says_what_was_predicted_and_what_was_cached(url: str, history: History) -> None:
    """Headers of the gateway and usage of the pod are kept, and the history has them."""
    with Sender(url, history) as sender:
        answer = sender.send(request(7, "m"))

    assert (answer.ok, answer.pod, answer.selection, answer.source_state) == (
        True,
        "p",
        "prefix_match",
        "exact",
    )
    assert (answer.matched_blocks, answer.predicted, answer.cached_tokens, answer.prompt_tokens) == (
        2,
        32,
        16,
        5,
    )
    (record,) = read([history.path])
    assert (record["f"], record["type"], record["number"], record["predicted"]) == ("request", "ok", 7, 32)


def test_failures_are_answers_too(url: str, history: History) -> None:
    """An error status and a refused connection are answers that are not ok, and say why."""
    with Sender(url, history) as sender, Sender("http://127.0.0.1:9", history) as nobody:
        answers = [
            sender.send(request(0, "busy")),
            nobody.send(request(1, "m")),
            sender.send(request(2, "m")),
        ]

    assert [(answer.ok, answer.status) for answer in answers] == [(False, 503), (False, 0), (True, 200)]
    assert answers[0].error == "no pod is ready"
    assert answers[1].error.startswith("ConnectError")
    assert availability(answers) == pytest.approx(1 / 3)


def test_background_traffic_does_not_wait_for_answers(url: str, history: History) -> None:
    """A request goes out when it is due; one that has to wait for a free worker is late by that."""
    requests = [request(0, "slow"), request(1, "slow"), request(2, "m", at_s=0.05)]
    with Sender(url, history) as sender:
        with BackgroundTraffic(sender, requests, workers=3) as free:
            free.await_due(0.05)
        with BackgroundTraffic(sender, requests, workers=1) as crowded:
            crowded.await_due(0.05)

    assert _latency_s(free.answers(), 2) < SLOW_S
    assert _latency_s(crowded.answers(), 2) > 2 * SLOW_S - 0.1


def test_leaving_ends_the_sending(url: str, history: History) -> None:
    """What is not due when the context is left is not sent."""
    with (
        Sender(url, history) as sender,
        BackgroundTraffic(sender, [request(0, "m"), request(1, "m", at_s=60)]) as sent,
    ):
        sent.await_due(0)

    assert len(sent.answers()) <= 1


def _latency_s(answers: list[Answer], number: int) -> float:
    return next(answer.latency_s for answer in answers if answer.number == number)
