"""Faults of pods that are found by their labels, against a double of an API server that starts others."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from kvsync.ci.chaos.pods import PodInjector, SelectedPod
from kvsync.ci.project.chaos_stage import PodSelector
from kvsync.testing.clusters.kubernetes.api import KubernetesApi
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.faults import effects
from kvsync.testing.faults.fault import Bandwidth, PodKill, PortsBlocked
from kvsync.testing.faults.holding import active
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.history import History
from kvsync.testing.results.verdicts import NotRun, Void

Json = dict[str, object]


@dataclass
class Pods:
    """The pods of a namespace; a new one comes for each that is deleted, if that `is_replaced`."""

    names: list[str] = field(default_factory=lambda: ["api-1", "api-2"])
    is_replaced: bool = True
    status: int = 200
    said: str = ""
    denied: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)

    def refusal(self, method: str, path: str) -> Json | None:
        """Return what the API server says to a user without this right, such as "GET /pods"; else None."""
        if not any(each.startswith(method) and path.endswith(each.split()[1]) for each in self.denied):
            return None
        said = 'pods is forbidden: User "x" cannot do this in the namespace "shop"'
        return {"kind": "Status", "message": said}

    def delete(self, name: str) -> None:
        """Take one away."""
        self.names.remove(name)
        if self.is_replaced:
            self.names.append(f"api-{len(self.asked) + 100}")

    def pod(self, name: str) -> Json:
        """Return one as the API server writes it."""
        ports = [] if name.startswith("mute") else [{"containerPort": 8000, "protocol": "TCP"}]
        return {
            "metadata": {
                "name": name,
                "uid": f"uid-{name}",
                "labels": {"app": "api"},
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"nodeName": "node-1", "containers": [{"name": "c", "ports": ports}]},
            "status": {
                "phase": "Succeeded" if name.startswith("done") else "Running",
                "conditions": [{"type": "Ready", "status": str(name.startswith(("api", "mute")))}],
            },
        }


@contextmanager
def api_server(pods: Pods, folder: Path) -> Iterator[Machine]:
    """Serve these pods, and give how they are reached."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            pods.asked.append(self.path)
            if refusal := pods.refusal("GET", parts.path):
                self._answer(403, refusal)
            elif parts.path.endswith("/proxy"):
                self._answer(pods.status, pods.said)
            elif parts.path.endswith("/pods"):
                label = parse_qs(parts.query).get("labelSelector", ["app=api"])
                items = [pods.pod(name) for name in pods.names] if label == ["app=api"] else []
                self._answer(200, {"items": items})
            else:
                self._answer(200, pods.pod(parts.path.rpartition("/")[2]))

        def do_DELETE(self) -> None:
            pods.asked.append(self.path)
            path = urlsplit(self.path).path
            if refusal := pods.refusal("DELETE", path):
                self._answer(403, refusal)
                return
            pods.delete(path.rpartition("/")[2])
            self._answer(200, {})

        def _answer(self, status: int, body: object) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    config = folder / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "current-context": "x",
                "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
                "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "users": [{"name": "x", "user": {"token": "t"}}],
            }
        )
    )
    try:
        yield Machine(kubeconfig=str(config), context="x", image="", manifests="")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def injector(machine: Machine, folder: Path, selector: str = "app=api") -> PodInjector:
    """Return what carries out faults on the pods of a selector."""
    return PodInjector(
        machine,
        PodSelector(selector=selector, namespace="shop"),
        Ledger(folder / "run" / "ledger.jsonl"),
        history(folder),
        lambda: None,
        patience_s=0.1,
    )


def history(folder: Path) -> History:
    """Return a history."""
    return History(folder / "history.jsonl", proc="x")


def test_a_pod_is_killed_when_another_came_for_it(tmp_path: Path) -> None:
    """The oldest that is ready, without grace, in its namespace; one of a Job that is done is not missed."""
    pods = Pods(names=["done-1", "api-1", "api-2"])
    with api_server(pods, tmp_path) as machine:
        by = injector(machine, tmp_path)
        assert [each.name for each in by.pods()] == ["api-1", "api-2"]
        with active(PodKill(pod=by.victim()), by, history(tmp_path)) as episode:
            pass

    assert episode.proof.startswith("api-1 is gone, api-1")
    assert episode.absence == "2 of 2 pods are ready"
    (deletion,) = [path for path in pods.asked if "gracePeriodSeconds" in path]
    assert deletion == "/api/v1/namespaces/shop/pods/api-1?gracePeriodSeconds=0"


def test_a_pod_that_nothing_replaces_is_void(tmp_path: Path) -> None:
    """Its death is no fault that anything could recover from."""
    with api_server(Pods(is_replaced=False), tmp_path) as machine:
        by = injector(machine, tmp_path)
        with (
            pytest.raises(Void, match="api-1 is gone, none came"),
            active(PodKill(pod="api-1"), by, history(tmp_path), proof_timeout_s=0.1),
        ):
            pass


@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (200, "", effects.ANSWERED),
        (404, "there is no such page", effects.ANSWERED),
        (503, "dial tcp 10.0.0.1:8000: connect: connection refused", effects.REFUSED),
        (502, "dial tcp 10.0.0.1:8000: i/o timeout", "502 Bad Gateway"),
    ],
)
def test_what_a_pod_says_through_the_api_server(tmp_path: Path, status: int, said: str, words: str) -> None:
    """Any answer of its own counts, whatever it says."""
    with api_server(Pods(status=status, said=said), tmp_path) as machine:
        pod = SelectedPod(KubernetesApi(machine), "shop", "api-1")

        assert pod.say() == words


def test_what_cannot_be_says_why(tmp_path: Path) -> None:
    """No pod, no port, and faults whose effect could not be seen."""
    with api_server(Pods(), tmp_path) as machine:
        with pytest.raises(NotRun, match="there is no pod with app=other in the namespace shop; start it"):
            injector(machine, tmp_path, "app=other").victim()
        with pytest.raises(NotRun, match="pod mute-1 declares no port"):
            SelectedPod(KubernetesApi(machine), "shop", "mute-1")
        for fault in (Bandwidth(pod="api-1", bytes_per_s=1), PortsBlocked(pod="api-1", ports=("http",))):
            with pytest.raises(NotRun, match="only known by its labels"):
                injector(machine, tmp_path).prepare(fault)


def test_pods_that_do_not_get_ready_are_named(tmp_path: Path) -> None:
    """They are there, so it is not the selector that is wrong."""
    with (
        api_server(Pods(names=["late-1"]), tmp_path) as machine,
        pytest.raises(NotRun, match=r"no pod with app=api .* is ready after 0.1 s: late-1 \(Running\)"),
    ):
        injector(machine, tmp_path).victim()


@pytest.mark.parametrize("right", ["GET /pods", "GET /proxy", "DELETE /api-1"])
def test_a_right_that_is_lacking_is_named_and_nothing_happens(tmp_path: Path, right: str) -> None:
    """A refusal of the API server is not an answer of the pod."""
    pods = Pods(denied=(right,))
    with api_server(pods, tmp_path) as machine:
        by = injector(machine, tmp_path)

        def carry_out() -> None:
            SelectedPod(KubernetesApi(machine), "shop", by.victim()).say()
            with active(PodKill(pod="api-1"), by, history(tmp_path)):
                pass

        with pytest.raises(NotRun, match="403: pods is forbidden"):
            carry_out()

    assert pods.names == ["api-1", "api-2"]
