"""What a health request gets is said in words; the server is a real one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kvsync.testing.faults.effects import ask

UNREACHED = "error trying to reach service: dial tcp 10.244.0.5:8000: connect: "


@contextmanager
def server(status: int, body: str) -> Iterator[str]:
    """Serve one answer to everybody; gives the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        pytest.param(200, "{}", "answered", id="well"),
        pytest.param(502, f"{UNREACHED}connection refused", "refused", id="the API server was refused"),
        pytest.param(502, f"{UNREACHED}no route to host", "answered with 502", id="it found no way"),
        pytest.param(500, "", "answered with 500", id="the engine failed"),
    ],
)
def test_a_refusal_that_the_api_server_tells_of_is_one(status: int, body: str, said: str) -> None:
    """The pods of a Kubernetes cluster are reached through it."""
    with server(status, body) as url:
        assert ask(url) == said


def test_who_is_refused_says_so() -> None:
    """Nothing listens any more where something did."""
    with server(200, "") as url:
        pass
    assert ask(url) == "refused"
