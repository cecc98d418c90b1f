"""An API server that refuses every connection for a while, which gateways have to survive."""

from collections.abc import Iterator
from contextlib import contextmanager

from kvsync.testing.clusters.endpoints import answers
from kvsync.testing.clusters.kubernetes.api import KubernetesApi
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.clusters.kubernetes.manifests import GATEWAY_PORT, Manifest
from kvsync.testing.errors import ClusterError
from kvsync.testing.faults.node.changes import Changes
from kvsync.testing.faults.node.node import Node
from kvsync.testing.faults.node.rules import refusal
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.verdicts import Void

API_PORT = 6443
"""Where the API servers of Kind's control planes listen."""
NODE_PORT_SERVICE = "gateway-outside"
PROBE_S, OPEN_S = 1.0, 30.0


@contextmanager
def api_server_refuses(machine: Machine, api: KubernetesApi, ledger: Ledger) -> Iterator[None]:
    """Let the API server of a Kind cluster refuse every connection, new or open, while the context is open.

    Raises NotRun when its node cannot do that, and Void when it answered all the same.
    """
    node = Node(f"{machine.kind}-control-plane")
    changes = Changes(node, ledger)
    changes.make("API server", [refusal(API_PORT, f"kvsync-{ledger.run}-api")])
    try:
        node.reset([API_PORT])
        _require_silence(api)
        yield
        _require_silence(api)
    finally:
        changes.undo()


def open_node_port(api: KubernetesApi, namespace: str) -> str:
    """Open a port on every node that leads to a namespace's gateway, and return its URL on one of them.

    It bypasses the API server, and goes with the namespace. Raises WaitTimeout when it leads
    nowhere: nodes hear of it a moment later, and older ones then accept connections that they never answer.
    """
    api.create([_node_port_service()], namespace)
    url = f"http://{api.node_address()}:{api.node_port(namespace, NODE_PORT_SERVICE)}"
    wait_for(lambda: answers(f"{url}/readyz", PROBE_S), what=f"{url} leads to the gateway", timeout_s=OPEN_S)
    return url


def _node_port_service() -> Manifest:
    ports = [{"name": "http", "port": GATEWAY_PORT, "targetPort": "http"}]
    spec = {"type": "NodePort", "selector": {"app": "gateway"}, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NODE_PORT_SERVICE}, "spec": spec}


def _require_silence(api: KubernetesApi) -> None:
    try:
        api.node_address()
    except ClusterError:
        return
    raise Void("the API server answered while it was to refuse everybody")
