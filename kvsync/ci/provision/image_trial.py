"""Whether a cluster's nodes can run an image: one engine is started from it, before any test needs many.

Only a node can tell whether it can pull an image; what a registry tells this machine means little there.
"""

import threading
from contextlib import suppress
from pathlib import Path

from kvsync.ci.doctor.findings import Finding, missing, ok
from kvsync.testing.clusters.kubernetes import manifests as render
from kvsync.testing.clusters.kubernetes.api import HOPELESS, KubernetesApi, PodState
from kvsync.testing.clusters.kubernetes.cluster import ENGINES, INTERVAL_S
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.clusters.kubernetes.manifests import Manifests
from kvsync.testing.clusters.kubernetes.provider import namespace_of
from kvsync.testing.errors import WaitTimeout
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.wait import wait_for

LOG_LINES = 5


def try_image(machine: Machine, *, ledger: Ledger, stop: threading.Event) -> Finding:
    """Start an engine in a separate namespace and delete it again; returns soon once `stop` is set.

    Raises ClusterError when the API server refuses something, WaitTimeout when the namespace stays.
    """
    api, manifests = KubernetesApi(machine), Manifests.read(Path(machine.manifests))
    namespace = namespace_of(machine.namespace_prefix, ledger.run, "image")
    engine = render.engines(manifests, model="image", replicas=1, image=machine.image, flags=())
    entry = ledger.intend("namespace", namespace, **machine.access)
    try:
        api.create([render.namespace(manifests, namespace, ledger.run)])
        api.create([*manifests.access, engine], namespace)
        pod = _settled(api, namespace, machine.ready_timeout_s, stop)
        log = api.log(namespace, pod.name, previous=True, lines=LOG_LINES) if pod and pod.restarts else ""
    finally:
        api.delete_namespace(namespace)
        wait_for(
            lambda: stop.is_set() or namespace not in api.namespaces(""),
            what=f"the namespace {namespace} is gone",
            timeout_s=machine.delete_timeout_s,
            interval_s=INTERVAL_S,
        )
    if stop.is_set():
        return ok("image", "not fully tried: the run was interrupted")
    ledger.released(entry)
    return judge(machine, pod, log)


def judge(machine: Machine, pod: PodState | None, log: str = "") -> Finding:
    """Judge what became of the pod, None if there never was one; `log` is the last it wrote. Pure."""
    image, trouble = machine.image, pod.trouble if pod else "no pod was made of it"
    if pod and pod.ready:
        return ok("image", f"{image} starts on a node of {machine.context}")
    if trouble.partition(":")[0] in HOPELESS:
        return missing(
            "image",
            f"{image} cannot be pulled on a node of {machine.context}: {trouble}",
            "push it to where the nodes pull from, give the nodes the credentials of a private registry (the "
            "namespaces are the run's own and have no imagePullSecrets), or set KVSYNC_CI_IMAGE to another",
        )
    trouble = trouble or f"not ready within {machine.ready_timeout_s:g} s"
    said = f"; it said: {log}" if log else ""
    return missing(
        "image",
        f"no engine starts from {image}: {trouble}{said}",
        "build it from infra/docker/Dockerfile, for the nodes' processors, and see that they have room; "
        "if they are only slow, set KVSYNC_CI_READY_TIMEOUT_S",
    )


def _settled(api: KubernetesApi, namespace: str, timeout_s: float, stop: threading.Event) -> PodState | None:
    """Wait until the pod is ready or never will be; returns its state then, or at the time limit."""
    pods: list[PodState] = []

    def settled() -> bool:
        pods[:] = api.pods(namespace, ENGINES)
        return stop.is_set() or any(pod.ready or pod.is_hopeless for pod in pods)

    with suppress(WaitTimeout):  # the pod's state says more
        wait_for(settled, what="the image starts", timeout_s=timeout_s, interval_s=INTERVAL_S)
    return next(iter(pods), None)
