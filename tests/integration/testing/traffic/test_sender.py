"""Whatever happens to a request is an answer."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kvsync.testing.results.history import History, read
from kvsync.testing.traffic.sender import Sender
from kvsync.testing.traffic.trace import TraceRequest

HEADERS = {
    "x-kvsync-pod": "p",
    "x-kvsync-selection": "prefix_match",
    "x-kvsync-matched-blocks": "2",
    "x-kvsync-predicted-cached-tokens": "32",
    "x-kvsync-source-state": "exact",
}


class Gateway(BaseHTTPRequestHandler):
    """Refuses the model "busy", and serves any other."""

    def do_POST(self) -> None:
        """Answer a completion."""
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
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
