"""What others can do with the rights of the test kit, and what becomes of a test that lacks rights."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import pytest

from kvsync.ci.doctor.kubernetes import NEEDED, TO_DRAIN, TO_INJECT, Right
from kvsync.testing.clusters.kubernetes.api import KubernetesApi
from kvsync.testing.clusters.kubernetes.cluster import KubernetesCluster, Site
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.clusters.kubernetes.manifests import Manifests
from kvsync.testing.clusters.kubernetes.proxy import KubernetesProxy
from kvsync.testing.errors import ClusterError, WaitTimeout
from kvsync.testing.faults.chaosmesh.injector import KINDS, ChaosMeshInjector
from kvsync.testing.faults.chaosmesh.manifest import GROUP, VERSION, plural
from kvsync.testing.faults.chaosmesh.resource import ExperimentResource, Reference
from kvsync.testing.faults.fault import Partition
from kvsync.testing.faults.holding import Effect
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.results.history import History
from kvsync.testing.results.verdicts import NotRun

RUN = "r7"
POD = "/api/v1/namespaces/kvsync-r7-a/pods/engine-1:8000/proxy"
SERVICE = "/api/v1/namespaces/kvsync-r7-shared-1/services/gateway:8080/proxy"
PODS = "/api/v1/namespaces/kvsync-r7-a/pods"
NODE = "PATCH /api/v1/nodes/n1"
ENGINE = {
    "metadata": {"name": "engine-1", "uid": "u", "creationTimestamp": "2026-03-01T12:00:00Z"},
    "spec": {"nodeName": "n1", "containers": []},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}
LACKING = 'it is forbidden: User "somebody" cannot do it'
MANIFESTS = Path(__file__).resolve().parents[3] / "infra" / "manifests"


class Api:
    """An API server that notes what it is asked.

    It answers what a test says, else with what was sent to it, or with an empty list.
    """

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, object] = {}
        self.refusals: dict[str, str] = {}
        api = self

        class Handler(BaseHTTPRequestHandler):
            """Passes each request on."""

            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                """Answer one request."""
                sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                api.answer(self, json.loads(sent or b'{"items": []}'))

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - what the library calls

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
                """Write nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.machine = Machine(
            kubeconfig=str(self._kubeconfig(folder / "kubeconfig")), context="", image="", manifests=""
        )

    def answer(self, request: BaseHTTPRequestHandler, sent: object) -> None:
        """Note a request and answer it."""
        wanted = f"{request.command} {request.path.partition('?')[0]}"
        if wanted != "GET /version":  # which a kubectl may ask when it starts
            self.asked.append(wanted)
        status, body = 200, self.answers.get(wanted, sent)
        if wanted in self.refusals:
            status, body = 403, {"kind": "Status", "code": 403, "message": self.refusals[wanted]}
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
    """Other users of this machine have none of the other rights that the kubeconfig gives."""
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
    """What is not needed is refused."""
    assert status(proxy, method, f"{POD}/health") == 403
    assert api.asked == []


@pytest.fixture
def cluster(api: Api, ledger: Ledger) -> KubernetesCluster:
    """A cluster with an engine on the node n1."""
    api.answers[f"GET {PODS}"] = {"kind": "PodList", "items": [ENGINE]}
    site = Site(
        machine=api.machine,
        api=KubernetesApi(api.machine),
        proxy=cast("KubernetesProxy", None),  # these tests ask no pod
        manifests=Manifests.read(MANIFESTS),
        ledger=ledger,
    )
    return KubernetesCluster("a", namespace="kvsync-r7-a", site=site, seed=1, settings={})


def test_a_node_that_may_not_be_closed_is_not_drained(
    cluster: KubernetesCluster, api: Api, ledger: Ledger
) -> None:
    """The test is not run with the reason, nothing stays to be undone, and undoing it does nothing."""
    api.refusals[NODE] = LACKING

    with pytest.raises(NotRun, match=f"cannot cordon n1: 403: {LACKING}"):
        cluster.drain("n1")
    cluster.uncordon("n1")

    assert api.asked == [NODE]
    assert leftovers([ledger.path]) == []


def test_a_node_whose_pods_may_not_be_evicted_is_opened_again(
    cluster: KubernetesCluster, api: Api, ledger: Ledger
) -> None:
    """The test is not run, and the node is known to be closed until it is open."""
    api.refusals[f"POST {PODS}/engine-1/eviction"] = LACKING

    with pytest.raises(NotRun, match=f"cannot evict engine-1: 403: {LACKING}"):
        cluster.drain("n1")
    assert [entry.kind for entry in leftovers([ledger.path])] == ["cordon"]
    cluster.uncordon("n1")

    assert [each for each in api.asked if "nodes" in each] == [NODE, NODE]
    assert leftovers([ledger.path]) == []


def test_what_is_denied_for_another_reason_has_failed(
    cluster: KubernetesCluster, api: Api, ledger: Ledger
) -> None:
    """A rule that denies it is not a lack of rights; the ledger still knows of the node."""
    api.refusals[NODE] = 'admission webhook "nodes" denied the request'

    with pytest.raises(ClusterError, match="cannot cordon n1: 403: admission webhook"):
        cluster.drain("n1")

    assert [entry.kind for entry in leftovers([ledger.path])] == ["cordon"]


@pytest.mark.parametrize("refused", ["GET {}/podchaos", "POST {}/networkchaos"], ids=["list", "create"])
def test_a_fault_that_may_not_be_made_is_not_run(
    api: Api, ledger: Ledger, tmp_path: Path, refused: str
) -> None:
    """It has the reason, and nothing stays to be undone."""
    kinds = [
        {"kind": kind, "name": "", "namespaced": True, "singularName": "", "verbs": []} for kind in KINDS
    ]
    api.answers[f"GET /apis/{GROUP}/{VERSION}"] = {"groupVersion": "", "resources": kinds}
    api.answers["GET /api/v1/pods"] = {"items": [ENGINE]}
    api.refusals[refused.format(f"/apis/{GROUP}/{VERSION}/namespaces/n")] = LACKING
    injector = ChaosMeshInjector(
        client=KubernetesApi(api.machine).client,
        namespace="n",
        machine=api.machine,
        ledger=ledger,
        history=History(tmp_path / "history.jsonl", proc="test"),
        observe=lambda fault: lambda *, acting: Effect(acting, ""),
    )
    injection = injector.prepare(Partition(pod="engine-1"))

    with pytest.raises(NotRun, match=f"cannot inject partition: .*403: {LACKING}"):
        injection.inject()
    asked = list(api.asked)
    injection.recover()

    assert api.asked == asked
    assert leftovers([ledger.path]) == []


VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def right(asked: str) -> Right:
    """Return the right that a request takes: verb, resource with subresource, and group."""
    method, _, path = asked.partition(" ")
    parts = path.removeprefix("/api/v1/").removeprefix("/apis/").split("/")
    group = ""
    if path.startswith("/apis/"):
        group, _, *parts = parts
    if parts[0] == "namespaces" and len(parts) > 2:
        parts = parts[2:]
    resource = "/".join(parts[:1] + parts[2:])
    return VERBS.get(method, "get" if len(parts) > 1 else "list"), resource, group


def test_what_a_cluster_is_made_of_takes_rights_that_the_doctor_asks_for(
    cluster: KubernetesCluster, api: Api
) -> None:
    """From its namespace to what is deleted at last, and pods that are looked at in between."""
    kubernetes, manifests = cluster.site.api, cluster.site.manifests
    spec = {"replicas": 1, "selector": {}, "template": {"spec": {"containers": []}}}
    found = {"metadata": {"generation": 1}, "spec": spec, "status": {}}
    for method in ("GET", "PATCH"):
        api.answers[f"{method} /apis/apps/v1/namespaces/n/deployments/gateway"] = found

    kubernetes.create([manifests.namespace])
    kubernetes.create([*manifests.access, *manifests.gateway, manifests.engine], "n")
    kubernetes.scale("n", "gateway", 2)
    kubernetes.patch_deployment("n", "gateway", {})
    kubernetes.rolled_out("n", "gateway")
    kubernetes.pods("n", "")
    kubernetes.pod_events("n")
    kubernetes.log("n", "engine-1")
    kubernetes.delete_pod("n", "engine-1", grace_s=0)
    kubernetes.delete_deployment("n", "gateway")
    kubernetes.namespaces("")
    kubernetes.delete_namespace("n")

    taken = {right(asked) for asked in api.asked}
    assert len(taken) == 17
    assert taken <= set(NEEDED)


def test_a_role_gives_no_more_rights_than_its_maker_has(cluster: KubernetesCluster) -> None:
    """Kubernetes does not let users give rights away that they do not have."""
    (role,) = [each for each in cluster.site.manifests.access if each["kind"] == "Role"]
    given = {(verb, "pods", "") for rule in role["rules"] for verb in rule["verbs"]}
    assert given <= set(NEEDED)


def test_a_drain_takes_rights_that_the_doctor_asks_for(cluster: KubernetesCluster, api: Api) -> None:
    """Its own ones, for not every run drains a node."""
    cluster.site.api.cordon("n1", closed=True)
    cluster.site.api.evict("n", "engine-1")

    assert {right(asked) for asked in api.asked} <= set(TO_DRAIN)


def test_experiments_take_rights_that_the_doctor_asks_for(api: Api) -> None:
    """For each kind the same."""
    for kind in KINDS:
        reference = Reference(group=GROUP, version=VERSION, plural=plural(kind), namespace="n", name="x")
        resource = ExperimentResource(KubernetesApi(api.machine).client, reference)
        api.answers[f"GET /apis/{GROUP}/{VERSION}/namespaces/n/{plural(kind)}/x"] = {}
        resource.create({})
        resource.read()
        resource.annotate("a", "b")
        with pytest.raises(WaitTimeout):
            resource.remove(timeout_s=0, force_timeout_s=0)

    assert {right(asked) for asked in api.asked} | {("list", plural(kind), GROUP) for kind in KINDS} <= set(
        TO_INJECT
    )
