"""Whether Chaos Mesh is installed, asked of an API server of our own with just that much in it."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from kubernetes.client import ApiClient, Configuration

from kvsync.testing.errors import ClusterError
from kvsync.testing.faults.chaosmesh.installation import lacking

Serve = Callable[[Mapping[str, object], Mapping[str, bool]], ApiClient]
"""Starts an API server that knows kinds (by plural) and has one pod of each component, ready or not."""

KINDS: Mapping[str, object] = {"networkchaos": "NetworkChaos", "podchaos": "PodChaos"}
ALL_READY = {"controller-manager": True, "chaos-daemon": True}


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start API servers that end with the test."""
    servers: list[ThreadingHTTPServer] = []

    def start(kinds: Mapping[str, object], components: Mapping[str, bool]) -> ApiClient:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler(kinds, components))
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return ApiClient(Configuration(host=f"http://127.0.0.1:{server.server_port}"))

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def handler(kinds: Mapping[str, object], components: Mapping[str, bool]) -> type[BaseHTTPRequestHandler]:
    """Return what answers requests as an API server does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path.rstrip("/") == "/apis/chaos-mesh.org/v1alpha1" and kinds:
                resources = [
                    {"name": name, "kind": kind, "namespaced": True, "singularName": name, "verbs": ["get"]}
                    for name, kind in kinds.items()
                ]
                self.answer(200, {"groupVersion": "chaos-mesh.org/v1alpha1", "resources": resources})
            elif url.path == "/api/v1/pods":
                labels = parse_qs(url.query)["labelSelector"][0]
                self.answer(
                    200, {"items": [pod(ready) for name, ready in components.items() if name in labels]}
                )
            else:
                self.answer(404, {"message": "not here"})

        def answer(self, status: int, body: object) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def pod(ready: bool) -> dict[str, object]:
    """Return a pod with its one condition."""
    return {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": str(ready)}]}}


def test_all_is_there(serve: Serve) -> None:
    """With the kind known and its controllers ready nothing is lacking."""
    assert lacking(serve(KINDS, ALL_READY), "NetworkChaos") == ""


@pytest.mark.parametrize(
    ("kinds", "components", "reason"),
    [
        pytest.param({}, {}, "the cluster knows no NetworkChaos of chaos-mesh.org/v1alpha1", id="nothing"),
        pytest.param(
            {"podchaos": "PodChaos"}, ALL_READY, "the cluster knows no NetworkChaos", id="not this kind"
        ),
        pytest.param(
            KINDS,
            {},
            "no ready controller-manager and no ready chaos-daemon of Chaos Mesh runs",
            id="only kinds",
        ),
        pytest.param(
            KINDS,
            {**ALL_READY, "chaos-daemon": False},
            "no ready chaos-daemon of Chaos Mesh runs",
            id="no daemon",
        ),
        pytest.param(
            KINDS,
            {**ALL_READY, "controller-manager": False},
            "no ready controller-manager of Chaos Mesh runs",
            id="controller not ready",
        ),
    ],
)
def test_what_is_lacking(
    kinds: Mapping[str, object], components: Mapping[str, bool], reason: str, serve: Serve
) -> None:
    """What is missing is named, with the command that installs it for nodes that run containerd."""
    said = lacking(serve(kinds, components), "NetworkChaos")

    assert said.startswith(reason)
    assert "helm install chaos-mesh" in said
    assert "chaosDaemon.runtime=containerd,chaosDaemon.socketPath=/run/containerd/containerd.sock" in said


def test_an_api_server_that_is_away() -> None:
    """Who cannot be asked says nothing about Chaos Mesh: that is an error of its own, and soon."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        port = closed.server_port
    client = ApiClient(Configuration(host=f"http://127.0.0.1:{port}"))

    with pytest.raises(ClusterError, match=r"cannot list the kinds of chaos-mesh\.org: MaxRetryError"):
        lacking(client)
