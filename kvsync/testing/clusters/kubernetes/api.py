"""What the test kit asks of a Kubernetes API server, in a few words; every failure is a ClusterError."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kubernetes import client
from kubernetes.config import new_client_from_config
from kubernetes.utils import create_from_dict

from kvsync.testing.clusters.kubernetes.api_errors import NOT_FOUND, failures
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.clusters.kubernetes.manifests import Manifest
from kvsync.testing.errors import ClusterError
from kvsync.testing.results.history import Record

TIMEOUT_S = 30.0
"""For one request; a busy API server on a small machine takes seconds."""
HOPELESS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
)
CRASHES = 2
"""A program that a test ends twice comes back; one that ended by itself so often will not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """A pod as the API server has it; `restarts` counts those of its only container."""

    name: str
    uid: str
    ip: str
    node: str
    created: str
    ready: bool
    deleting: bool
    restarts: int
    labels: dict[str, str]
    container_id: str
    trouble: str
    """Why its container waits or ended, in Kubernetes' words: "ErrImagePull: ..."; empty when it runs."""
    phase: str = ""
    """Where it is in its life, in Kubernetes' words; one that Succeeded or Failed never runs again."""
    exit_code: int | None = None
    """How its container ended; None while it waits or runs."""

    @property
    def is_over(self) -> bool:
        """Whether it ended for good, as those of a Job do, and those that a node evicted."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def is_hopeless(self) -> bool:
        """Whether waiting will not help: no image, no such user, or a program that ended again and again."""
        reason = self.trouble.partition(":")[0]
        return reason in HOPELESS or (reason == "CrashLoopBackOff" and self.restarts > CRASHES)


class KubernetesApi:
    """One cluster, as one user; every call raises ClusterError when it fails."""

    def __init__(self, machine: Machine) -> None:
        with failures("read the kubeconfig"):
            api = new_client_from_config(  # type: ignore[no-untyped-call]
                machine.kubeconfig or None, machine.context or None
            )
        self.client = api
        self.core, self.apps = client.CoreV1Api(api), client.AppsV1Api(api)

    def create(self, objects: Sequence[Manifest], namespace: str | None = None) -> None:
        """Create objects of any built-in kind."""
        for each in objects:
            what = f"create {each['kind']} {each['metadata']['name']}"
            with failures(what):
                create_from_dict(self.client, each, namespace=namespace)  # type: ignore[no-untyped-call]

    def pods(self, namespace: str, labels: str) -> list[PodState]:
        """Return the pods with these labels, the oldest first; those that are being deleted, too."""
        with failures(f"list the pods of {namespace}"):
            found = self.core.list_namespaced_pod(
                namespace, label_selector=labels, _request_timeout=TIMEOUT_S
            ).items
        return sorted(map(pod_state, found), key=lambda pod: (pod.created, pod.name))

    def pod_events(self, namespace: str) -> list[Record]:
        """Return what Kubernetes noted about pods lately, as records of a history without `t_mono`."""
        with failures(f"list the events of {namespace}"):
            found = self.core.list_namespaced_event(
                namespace, field_selector="involvedObject.kind=Pod", _request_timeout=TIMEOUT_S
            ).items
        return [pod_event(raw) for raw in found]

    def delete_pod(self, namespace: str, name: str, *, grace_s: int) -> None:
        """Delete a pod; without grace its containers are killed and it is gone from the list at once.

        Does nothing when there is none.
        """
        with failures(f"delete pod {name}", unless=NOT_FOUND):
            self.core.delete_namespaced_pod(
                name, namespace, grace_period_seconds=grace_s, _request_timeout=TIMEOUT_S
            )

    def set_image(self, namespace: str, pod: str, image: str) -> None:
        """Put another image in the place of an engine pod's; the kubelet replaces its container.

        Does nothing when there is no such pod.
        """
        containers = [{"name": "engine", "image": image}]
        with failures(f"set the image of pod {pod}", unless=NOT_FOUND):
            self.core.patch_namespaced_pod(
                pod, namespace, {"spec": {"containers": containers}}, _request_timeout=TIMEOUT_S
            )

    def scale(self, namespace: str, deployment: str, replicas: int) -> None:
        """Set the number of a Deployment's pods."""
        with failures(f"scale {deployment}"):
            self.apps.patch_namespaced_deployment_scale(
                deployment, namespace, {"spec": {"replicas": replicas}}, _request_timeout=TIMEOUT_S
            )

    def patch_deployment(self, namespace: str, name: str, patch: Manifest) -> None:
        """Merge a patch into a Deployment."""
        with failures(f"patch {name}"):
            self.apps.patch_namespaced_deployment(name, namespace, patch, _request_timeout=TIMEOUT_S)

    def rolled_out(self, namespace: str, name: str) -> int | None:
        """Return how many pods a Deployment has; None until all are of its newest template and ready."""
        with failures(f"read Deployment {name}"):
            found = self.apps.read_namespaced_deployment(name, namespace, _request_timeout=TIMEOUT_S)
        return rolled_out(found)

    def cordon(self, node: str, *, closed: bool) -> None:
        """Close a node for new pods, or open it."""
        with failures(f"cordon {node}"):
            self.core.patch_node(node, {"spec": {"unschedulable": closed}}, _request_timeout=TIMEOUT_S)

    def node_address(self) -> str:
        """Return the address of a node within the network of the nodes."""
        with failures("list nodes"):
            found: Any = self.core.list_node(_request_timeout=TIMEOUT_S).items
        addresses = (each for node in found for each in node.status.addresses)
        return next(str(each.address) for each in addresses if each.type == "InternalIP")

    def node_port(self, namespace: str, service: str) -> int:
        """Return the port on every node that leads to a service."""
        with failures(f"read Service {service}"):
            found: Any = self.core.read_namespaced_service(service, namespace, _request_timeout=TIMEOUT_S)
        return int(found.spec.ports[0].node_port)

    def cluster_ip(self, namespace: str, service: str) -> str:
        """Return the address of a service within the cluster."""
        with failures(f"read Service {service}"):
            found: Any = self.core.read_namespaced_service(service, namespace, _request_timeout=TIMEOUT_S)
        return str(found.spec.cluster_ip)

    def evict(self, namespace: str, pod: str) -> None:
        """Ask a pod to leave its node, as draining does; its own grace period holds."""
        eviction: Any = {"metadata": {"name": pod, "namespace": namespace}}
        with failures(f"evict {pod}"):
            self.core.create_namespaced_pod_eviction(pod, namespace, eviction, _request_timeout=TIMEOUT_S)

    def delete_deployment(self, namespace: str, name: str) -> None:
        """Delete a Deployment with its pods; does nothing when there is none."""
        with failures(f"delete {name}", unless=NOT_FOUND):
            self.apps.delete_namespaced_deployment(
                name, namespace, propagation_policy="Background", _request_timeout=TIMEOUT_S
            )

    def delete_secret(self, namespace: str, name: str) -> None:
        """Delete a Secret; does nothing when there is none."""
        with failures(f"delete Secret {name}", unless=NOT_FOUND):
            self.core.delete_namespaced_secret(name, namespace, _request_timeout=TIMEOUT_S)

    def delete_namespace(self, name: str) -> None:
        """Begin to delete a namespace; does nothing when there is none."""
        with failures(f"delete namespace {name}", unless=NOT_FOUND):
            self.core.delete_namespace(name, _request_timeout=TIMEOUT_S)

    def namespaces(self, labels: str) -> list[str]:
        """Return the namespaces with these labels, those that are being deleted, too."""
        with failures("list namespaces"):
            found: Any = self.core.list_namespace(label_selector=labels, _request_timeout=TIMEOUT_S).items
        return [str(each.metadata.name) for each in found]

    def log(self, namespace: str, pod: str, *, previous: bool = False, lines: int | None = None) -> str:
        """Return what a pod's container wrote, or the one before it; why there is nothing, if so."""
        try:
            with failures(f"read the log of {pod}"):
                return str(
                    self.core.read_namespaced_pod_log(
                        pod, namespace, previous=previous, tail_lines=lines, _request_timeout=TIMEOUT_S
                    )
                )
        except ClusterError as exc:
            return f"({exc})"

    def follow_log(self, namespace: str, pod: str, *, since_s: int | None = None) -> Iterator[bytes]:
        """Yield what a pod's container writes until it ends, or the connection does."""
        with failures(f"follow the log of {pod}"):
            answer: Any = self.core.read_namespaced_pod_log(
                pod, namespace, follow=True, since_seconds=since_s, _preload_content=False
            )
            yield from answer.stream(amt=None)


def pod_event(raw: Any) -> Record:
    """Return an event of Kubernetes as a record; its moment is the last of those that it stands for."""
    at = raw.last_timestamp or raw.event_time or raw.metadata.creation_timestamp
    words = f"{raw.reason}: {raw.message}" if raw.type == "Warning" else str(raw.reason)
    return {"wall": at.timestamp(), "pod": raw.involved_object.name, "event": words}


def rolled_out(raw: Any) -> int | None:
    """Return how many pods a Deployment has; None until all are of its newest template and ready. Pure."""
    want, status = raw.spec.replicas, raw.status
    counts = {status.updated_replicas or 0, status.ready_replicas or 0, status.replicas or 0}
    seen = (status.observed_generation or 0) >= raw.metadata.generation
    return int(want) if seen and counts == {want} else None


def pod_state(raw: Any) -> PodState:
    """Return a pod of the API server in our words; one that is being deleted is not ready. Pure."""
    status, metadata = raw.status, raw.metadata
    container = next(iter(status.container_statuses or ()), None)
    ready = any(each.type == "Ready" and each.status == "True" for each in status.conditions or ())
    return PodState(
        name=metadata.name,
        uid=metadata.uid,
        ip=status.pod_ip or "",
        node=raw.spec.node_name or "",
        created=metadata.creation_timestamp.isoformat(),
        ready=ready and metadata.deletion_timestamp is None,
        deleting=metadata.deletion_timestamp is not None,
        restarts=container.restart_count if container else 0,
        labels=dict(metadata.labels or {}),
        container_id=(container.container_id or "").rpartition("/")[2] if container else "",
        trouble=_trouble(container, status.conditions or ()),
        phase=status.phase or "",
        exit_code=_exit_code(container),
    )


def _exit_code(container: Any) -> int | None:
    ended = container.state.terminated if container and container.state else None
    return int(ended.exit_code) if ended else None


def _trouble(container: Any, conditions: Sequence[Any]) -> str:
    """Say what keeps a pod from running: its container's state, or why no node takes it."""
    state = container.state if container else None
    if state and (state.waiting or state.terminated):
        why = state.waiting or state.terminated
        return f"{why.reason}: {why.message or ''}".strip(": ")
    unscheduled = (c.message for c in conditions if c.type == "PodScheduled" and c.status == "False")
    return next(unscheduled, None) or ""
