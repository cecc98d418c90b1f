"""What Kubernetes and the nodes of a Kind cluster say of a namespace in which a test did not pass.

Nothing here waits for another part: kubectl, Docker and the API server are each asked in a group of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from kvsync.testing.clusters.evidence import MOST_PODS, Group, Part, read_url
from kvsync.testing.clusters.kubernetes.api import KubernetesApi, PodState
from kvsync.testing.clusters.kubernetes.machine import CLUSTER_LABEL, Machine
from kvsync.testing.clusters.kubernetes.manifests import ADMIN_PORT, MODEL_LABEL
from kvsync.testing.clusters.kubernetes.proxy import KubernetesProxy
from kvsync.testing.processes.tools import ON_PATH, kubectl

ANSWER_S = 30.0
"""For one question to kubectl or to a node; a busy machine takes its time."""
LOG_LINES = JOURNAL_LINES = 500
"""Of each log that is kept; the end says most."""


def evidence_of(
    pods: Callable[[], Sequence[PodState]],
    namespace: str,
    *,
    machine: Machine,
    api: KubernetesApi,
    proxy: KubernetesProxy,
) -> dict[str, Group]:
    """Return the groups of parts that a namespace has besides those of any cluster."""
    groups: dict[str, Group] = {
        "kubernetes": _told(machine, namespace),
        "logs": _of_troubled(pods, namespace, api, proxy),
    }
    return {**groups, "nodes": _journals(machine.kind)} if machine.kind else groups


def _told(machine: Machine, namespace: str) -> Iterator[tuple[str, Part]]:
    for file, words in {
        "pods.txt": ("get", "pods", "--output=wide"),
        "events.txt": ("get", "events", "--sort-by=.lastTimestamp"),
        "describe.txt": ("describe", "pods"),
    }.items():
        argv = kubectl(machine.kubeconfig, machine.context, f"--namespace={namespace}", *words)
        yield file, partial(_said, *argv)


def _of_troubled(
    pods: Callable[[], Sequence[PodState]], namespace: str, api: KubernetesApi, proxy: KubernetesProxy
) -> Iterator[tuple[str, Part]]:
    """Yield the logs, those before a restart, and the blocks of pods that are not well."""
    for pod in [pod for pod in pods() if not pod.ready or pod.restarts][:MOST_PODS]:
        log = partial(api.log, namespace, pod.name, lines=LOG_LINES)
        yield f"{pod.name}.log", log
        if pod.restarts:
            yield f"{pod.name}-previous.log", partial(log, previous=True)
        if pod.ip and MODEL_LABEL in pod.labels:
            url = proxy.pod(namespace, pod.name, ADMIN_PORT)
            yield f"{pod.name}-blocks.json", partial(read_url, f"{url}/blocks")


def _journals(kind: str) -> Iterator[tuple[str, Part]]:
    """Yield the journals of a Kind cluster's nodes, of which Docker knows also without an API server."""
    label = f"--filter=label={CLUSTER_LABEL}={kind}"
    nodes = ON_PATH.ask("docker", "ps", "--all", label, "--format={{.Names}}", timeout_s=ANSWER_S)
    for node in sorted(nodes.lines):
        words = ("docker", "exec", node, "journalctl", "--no-pager", f"--lines={JOURNAL_LINES}")
        yield f"{node}-journal.log", partial(_said, *words)


def _said(*argv: str) -> str:
    answer = ON_PATH.ask(*argv, timeout_s=ANSWER_S)
    return f"{answer.output}{answer.errors}"
