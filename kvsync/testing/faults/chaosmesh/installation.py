"""Whether Chaos Mesh is in a cluster: its kinds are known, its controllers and daemons run."""

from typing import Any

from kubernetes.client import ApiClient, ApiException, CoreV1Api, CustomObjectsApi

from kvsync.testing.clusters.kubernetes.api_errors import NOT_FOUND, failures
from kvsync.testing.faults.chaosmesh.manifest import GROUP, VERSION
from kvsync.testing.faults.chaosmesh.resource import REQUEST_TIMEOUT_S

COMPONENTS = ("controller-manager", "chaos-daemon")
COMPONENT_LABEL = "app.kubernetes.io/component"
PART_LABEL, PART = "app.kubernetes.io/part-of", "chaos-mesh"

INSTALL = (
    "helm install chaos-mesh chaos-mesh --repo https://charts.chaos-mesh.org --namespace chaos-mesh"
    " --create-namespace --wait --set dashboard.create=false,controllerManager.enableFilterNamespace=true"
    ",chaosDaemon.runtime=containerd,chaosDaemon.socketPath=/run/containerd/containerd.sock"
)
"""For Kind, whose nodes run containerd: with the chart's own values its daemons look for Docker."""


def lacking(client: ApiClient, kind: str = "") -> str:
    """Say what of Chaos Mesh is missing for experiments of a kind, and how to install it; "" when nothing is.

    Asks only what every user may ask, and which pods run in all namespaces. Raises ClusterError when the API
    server cannot be asked.
    """
    known = kinds(client)
    if not known or (kind and kind not in known):
        return f"the cluster knows no {kind or 'kinds'} of {GROUP}/{VERSION}; install Chaos Mesh: {INSTALL}"
    absent = [each for each in COMPONENTS if not _is_running(client, each)]
    if absent:
        return f"no ready {' and no ready '.join(absent)} of Chaos Mesh runs; install it: {INSTALL}"
    return ""


def kinds(client: ApiClient) -> set[str]:
    """Return the kinds of experiments that the API server knows."""
    with failures(f"list the kinds of {GROUP}"):
        try:
            found = CustomObjectsApi(client).get_api_resources(
                GROUP, VERSION, _request_timeout=REQUEST_TIMEOUT_S
            )
        except ApiException as exc:
            if exc.status == NOT_FOUND:
                return set()
            raise
    return {each.kind for each in found.resources}


def _is_running(client: ApiClient, component: str) -> bool:
    labels = f"{PART_LABEL}={PART},{COMPONENT_LABEL}={component}"
    with failures(f"list the pods of Chaos Mesh's {component}"):
        pods = CoreV1Api(client).list_pod_for_all_namespaces(
            label_selector=labels, _request_timeout=REQUEST_TIMEOUT_S
        )
    return any(map(_is_ready, pods.items))


def _is_ready(pod: Any) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or ())
