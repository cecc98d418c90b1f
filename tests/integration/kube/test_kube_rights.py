"""What the test kit lets others do with its rights, and what becomes of a test without the rights it needs."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kvsync.testing.kubernetes_proxy import KubernetesProxy
from kvsync.testing.ledger import Ledger
from kvsync.testing.machine import Machine

RUN = "r7"
POD = "/api/v1/namespaces/kvsync-r7-a/pods/engine-1:8000/proxy"
SERVICE = "/api/v1/namespaces/kvsync-r7-shared-1/services/gateway:8080/proxy"


class Api:
    """An API server that notes what it is asked, and answers what a test says, else an empty object."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, object] = {}
        self.forbidden: set[str] = set()
        api = self

        class Handler(BaseHTTPRequestHandler):
            """Passes each request on."""

            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                """Answer one request."""
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                api.answer(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, format: str, *args: object) -> None:
                """Write nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.machine = Machine(
            kubeconfig=str(self._kubeconfig(folder / "kubeconfig")), context="", image="", manifests=""
        )

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Note a request and answer it."""
        wanted = f"{request.command} {request.path.partition('?')[0]}"
        if wanted != "GET /version":  # which a kubectl may ask when it starts
            self.asked.append(wanted)
        status, body = 200, self.answers.get(wanted, {})
        if wanted in self.forbidden:
            said = f'it is forbidden: User "somebody" cannot {wanted}'
            status, body = 403, {"kind": "Status", "code": 403, "reason": "Forbidden", "message": said}
        content = json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _kubeconfig(self, path: Path) -> Path:
        url = f"http://127.0.0.1:{self.server.server_port}"
        content = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": {"server": url}}],
            "users": [{"name": "me", "user": {"token": "t"}}],
        }
        path.write_text(json.dumps(content))
        return path


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API server on loopback."""
    api = Api(tmp_path)
    thread = threading.Thread(target=api.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield api
    api.server.shutdown()
    thread.join()
    api.server.server_close()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """The ledger of a run."""
    return Ledger(tmp_path / "ledger.jsonl", run=RUN)


@pytest.fixture
def proxy(api: Api, ledger: Ledger, tmp_path: Path) -> Iterator[HTTPConnection]:
    """A connection to a proxy for the namespaces of the run; it sends paths as they are."""
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl")
    running = KubernetesProxy(api.machine, namespaces="kvsync-r7-", log=tmp_path / "log", ledger=ledger)
    connection = HTTPConnection(running.url.removeprefix("http://"), timeout=10)
    yield connection
    connection.close()
    running.close()


def status(proxy: HTTPConnection, method: str, path: str) -> int:
    """Send a request, and return the status of its answer."""
    proxy.request(method, path, body="{}" if method != "GET" else None)
    answer = proxy.getresponse()
    answer.read()
    return answer.status


def test_the_proxy_leads_to_pods_and_services_of_the_run(proxy: HTTPConnection, api: Api) -> None:
    """To every path of theirs, with the methods that pods and gateways know."""
    wanted = [f"GET {POD}", f"GET {POD}/health", f"PUT {POD}/faults", f"POST {SERVICE}/v1/completions"]
    assert [status(proxy, *each.split()) for each in wanted] == [200, 200, 200, 200]
    assert api.asked == wanted


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/version",
        "/api/v1/namespaces/kube-system/secrets",
        "/api/v1/namespaces/kvsync-r7-a",
        "/api/v1/namespaces/kvsync-r7-a/pods",
        "/api/v1/namespaces/kvsync-r7-a/secrets",
        "/api/v1/namespaces/kvsync-r7-a/pods/engine-1",
        "/api/v1/namespaces/kvsync-r7-a/pods/engine-1/exec",
        "/api/v1/namespaces/kvsync-r7-a/pods/engine-1/log",
        "/api/v1/namespaces/kvsync-r7-a/pods/engine-1/proxyx",
        "/api/v1/namespaces/kvsync-r77-a/pods/engine-1:8000/proxy/health",
        "/api/v1/namespaces/other/services/gateway:8080/proxy/readyz",
        f"/x{POD}/health",
        "/apis/apps/v1/namespaces/kvsync-r7-a/deployments",
    ],
)
def test_the_proxy_leads_nowhere_else(proxy: HTTPConnection, api: Api, path: str) -> None:
    """Whoever is on this machine has none of the other rights that the kubeconfig gives."""
    assert status(proxy, "GET", path) == 403
    assert api.asked == []


@pytest.mark.parametrize(
    "path",
    [
        f"{POD}/../../../secrets",
        f"{POD}/%2e%2e/%2e%2e/%2e%2e/secrets",
        f"{POD}/..%2f..%2f..%2fsecrets",
        "/api/v1/namespaces/kvsync-r7-a%2f..%2fkube-system/pods/x/proxy",
    ],
)
def test_the_proxy_is_not_left_by_a_path_that_goes_back(proxy: HTTPConnection, api: Api, path: str) -> None:
    """Dots do not lead out of a pod, however they are written."""
    assert status(proxy, "GET", path) in {301, 307, 403}
    assert api.asked == []


@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
def test_the_proxy_knows_no_other_method(proxy: HTTPConnection, api: Api, method: str) -> None:
    """What nobody needs is refused."""
    assert status(proxy, method, f"{POD}/health") == 403
    assert api.asked == []
