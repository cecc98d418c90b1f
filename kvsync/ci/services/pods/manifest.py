"""What is created on Kubernetes for a service: a confined pod, and a Secret with what it is told. Pure.

The pod never restarts: a service that ended by itself leaves a doubt, wherever it runs. It has no token of
the API server, no root, and writes to a few empty folders alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kvsync.testing.clusters.kubernetes.manifests import MANAGED, RUN_LABEL, Manifest

STAGE_LABEL, SERVICE_LABEL = "kvsync.dev/stage", "kvsync.dev/service"

ACCOUNT = "services"
"""Of the namespace's own, which is there at once; the one called default comes a moment later."""

USER = 999
"""Who the official images of PostgreSQL, Redis and Valkey on Debian run as; others start as any user."""

WRITABLE = {"data": "/data", "tmp": "/tmp", "socket": "/var/run/postgresql"}  # noqa: S108  # the pod's own
"""Empty folders of the pod: for what it keeps, temporary files, and the socket of PostgreSQL's images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePod:
    """A service that is to run in a pod of `image` and to listen at `port` there.

    `variables` it finds in its environment, `files` at the paths that they have, and `words` go to the image.
    """

    name: str
    run: str
    stage: str
    image: str
    port: int
    words: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)


def namespace(name: str, run: str) -> list[Manifest]:
    """Return the namespace of a run's services, and whom pods in it run as, who may do nothing."""
    labels = {**MANAGED, RUN_LABEL: run}
    account = {"name": ACCOUNT, "namespace": name}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": account,
            "automountServiceAccountToken": False,
        },
    ]


def objects(service: ServicePod) -> list[Manifest]:
    """Return what the service consists of, in the order in which it is created."""
    return [_secret(service), _pod(service)]


def _metadata(service: ServicePod) -> Manifest:
    labels = {RUN_LABEL: service.run, STAGE_LABEL: service.stage, SERVICE_LABEL: service.name}
    return {"name": service.name, "labels": {**MANAGED, **labels}}


def _secret(service: ServicePod) -> Manifest:
    """Return what no list of pods shows: passwords, and files that have some."""
    given = {**service.variables, **{_key(path): text for path, text in service.files.items()}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": _metadata(service), "stringData": given}


def _pod(service: ServicePod) -> Manifest:
    from_secret = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": service.name, "key": name}}}
        for name in service.variables
    ]
    files = [
        {"name": "files", "mountPath": path, "subPath": _key(path), "readOnly": True}
        for path in service.files
    ]
    container = {
        "name": "service",
        "image": service.image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(service.words),
        "env": [{"name": "PGDATA", "value": f"{WRITABLE['data']}/pgdata"}, *from_secret],
        "ports": [{"name": "service", "containerPort": service.port}],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [*({"name": name, "mountPath": path} for name, path in WRITABLE.items()), *files],
    }
    spec = {
        "restartPolicy": "Never",
        "serviceAccountName": ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            *({"name": name, "emptyDir": {}} for name in WRITABLE),
            {"name": "files", "secret": {"secretName": service.name}},
        ],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _metadata(service), "spec": spec}


def _key(path: str) -> str:
    """Return what a Secret calls a file: its name, which is the only one of its kind there."""
    return path.rpartition("/")[2]
