"""A stand-in for an API server with nodes: it takes what is created, and its one pod is as a test says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


class Nodes:
    """What was created and is there, by kind; `pod` is the status of every pod."""

    def __init__(self, pod: dict[str, object]) -> None:
        self.pod = pod
        self.namespaces: list[str] = []
        self.made: list[str] = []
        self.images: list[str] = []
        self.url = ""

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig whose context `dev` leads here."""
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "dev",
                    "contexts": [{"name": "dev", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [{"name": "c", "cluster": {"server": self.url}}],
                    "users": [{"name": "u", "user": {"token": "t"}}],
                }
            )
        )
        return path

    def listed(self, path: str) -> list[dict[str, object]]:
        """Return the items of a list."""
        if path.endswith("/namespaces"):
            return [{"metadata": {"name": name}} for name in self.namespaces]
        created = {"name": "engine-0", "uid": "1", "creationTimestamp": "2026-01-02T03:04:05Z"}
        spec = {"containers": [{"name": "engine"}], "nodeName": "one"}
        return [{"metadata": created, "spec": spec, "status": self.pod}]


@contextmanager
def serving(nodes: Nodes) -> Iterator[Nodes]:
    """Answer on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Print nothing."""

        def _send(self, body: object) -> None:
            is_text = isinstance(body, str)
            content = str(body if is_text else json.dumps(body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain" if is_text else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            self._send("no module named kvsync" if path.endswith("/log") else {"items": nodes.listed(path)})

        def do_POST(self) -> None:
            made = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            nodes.made.append(made["kind"])
            if made["kind"] == "Namespace":
                nodes.namespaces.append(made["metadata"]["name"])
            if made["kind"] == "Deployment":
                nodes.images.append(made["spec"]["template"]["spec"]["containers"][0]["image"])
            self._send(made)

        def do_DELETE(self) -> None:
            nodes.namespaces.remove(self.path.rpartition("/")[2].partition("?")[0])
            self._send({"kind": "Status"})

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        nodes.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield nodes
        finally:
            server.shutdown()
