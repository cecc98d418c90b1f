"""A double of a Kubernetes API server for clusters that go wrong, and of what kubectl and docker say of them.

It speaks real HTTP on loopback. What the pods of a namespace are like follows from what its name ends with.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from kvsync.testing.clusters.kubernetes.machine import Machine

Json = dict[str, object]

RUNS: Json = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
NO_IMAGE: Json = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
CRASHED: Json = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
CREATING: Json = {"waiting": {"reason": "ContainerCreating"}}


def pod(name: str, app: str, state: Json, *, restarts: int = 0, ready: bool = True) -> Json:
    """A pod as the API server writes it; one that waits for its image or has none yet was never started."""
    container: Json = {"name": "c", "image": "i", "imageID": "", "restartCount": restarts, "ready": ready}
    container |= {
        "state": state,
        "containerID": "" if state in (NO_IMAGE, CREATING) else f"containerd://{name}",
    }
    created = {"creationTimestamp": "2026-01-01T00:00:00Z", "uid": name}
    labels = {"app": app, "model.aibrix.ai/name": "qwen"}
    return {
        "metadata": {"name": name, "labels": labels, **created},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c"}]},
        "status": {
            "podIP": "10.0.0.1" if state is RUNS else "",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [container],
        },
    }


GATEWAY = pod("gateway-1", "gateway", RUNS)
PODS: Mapping[str, list[Json]] = {
    "no-image": [pod("gateway-1", "gateway", NO_IMAGE, ready=False)],
    "crashes": [pod("gateway-1", "gateway", CRASHED, restarts=5, ready=False)],
    "no-node": [pod("gateway-1", "gateway", CREATING, ready=False)],
    "fails": [
        GATEWAY,
        *(pod(f"engine-{number:02}", "engine", RUNS) for number in range(20)),
        pod("engine-97", "engine", RUNS, restarts=1),
        pod("engine-98", "engine", NO_IMAGE, ready=False),
    ],
}
"""By the end of a namespace's name; any other has a gateway that is well."""


class ApiServer:
    """Knows the namespaces that were made; it never deletes those whose names end with "stuck"."""

    def __init__(self) -> None:
        self.namespaces: list[str] = []
        self.deletable = True
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                self._answer(*server.get(self.path))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if body["kind"] == "Namespace":
                    server.namespaces.append(body["metadata"]["name"])
                self._answer(201, body)

            def do_DELETE(self) -> None:
                name = urlsplit(self.path).path.rpartition("/")[2]
                if not server.deletable:
                    return self._answer(403, {"message": "you may not"})
                if name in server.namespaces and not name.endswith("stuck"):
                    server.namespaces.remove(name)
                return self._answer(200, {})

            def _answer(self, status: int, body: object) -> None:
                content = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                kind = "text/plain" if isinstance(body, str) else "application/json"
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._http.server_address[1]}"

    @contextmanager
    def serving(self) -> Iterator["ApiServer"]:
        """Serve from here on."""
        thread = Thread(target=self._http.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            thread.join()
            self._http.server_close()

    def get(self, target: str) -> tuple[int, object]:
        """Return status and body of an answer."""
        parts, query = urlsplit(target).path.strip("/").split("/")[2:], parse_qs(urlsplit(target).query)
        match parts:
            case ["namespaces"]:
                return 200, {"items": [{"metadata": {"name": name}} for name in self.namespaces]}
            case ["namespaces", name, "pods"]:
                label = query["labelSelector"][0].removeprefix("app=")
                pods = next((pods for end, pods in PODS.items() if name.endswith(end)), [GATEWAY])
                return 200, {"items": [each for each in pods if each["metadata"]["labels"]["app"] == label]}  # type: ignore[index]
            case ["namespaces", _, "events"]:
                return 200, {"items": []}
            case ["namespaces", _, "pods", pod, "log"]:
                earlier = query.get("previous", [""])[0].lower() == "true"
                return 200, f"{'earlier ' if earlier else ''}words of {pod}"
            case ["namespaces", name, "pods", _, "proxy", "status"]:
                return 200, {"pods": [], "index": {"blocks": 3 if name.endswith("shared-1") else 0}}
            case ["namespaces", _, "pods", pod, "proxy", *what]:
                return 200, {"of": pod, "what": what}
        return 404, {"message": f"no {target}"}

    def machine(self, folder: Path) -> Machine:
        """Return how tests reach it, with a kubeconfig in a folder."""
        kubeconfig = folder / "kubeconfig"
        content = {
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
            "clusters": [{"name": "fake", "cluster": {"server": f"http://{self.address}"}}],
            "users": [{"name": "me", "user": {"token": "t"}}],
        }
        kubeconfig.write_text(json.dumps(content))
        return Machine(
            kubeconfig=str(kubeconfig),
            context="fake",
            image="kvsync:none",
            manifests=str(Path(__file__).parents[4] / "infra" / "manifests"),
            kind="kvsync-fake",
            ready_timeout_s=1.5,
            delete_timeout_s=1.5,
        )
