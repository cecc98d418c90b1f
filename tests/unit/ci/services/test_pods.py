"""What is created on Kubernetes for a service, and why it does not run there."""

from dataclasses import replace

import pytest

from kvsync.ci.services.pods.manifest import ServicePod, namespace, objects
from kvsync.ci.services.pods.pod import PodHost
from kvsync.ci.services.pods.reason import has_started, is_settled, why_not
from kvsync.ci.services.pods.task import PodTask
from kvsync.testing.clusters.kubernetes.api import PodState
from kvsync.testing.clusters.kubernetes.machine import Machine

SERVICE = ServicePod(
    name="data",
    run="7",
    stage="it-3.11",
    image="postgres:18",
    port=5432,
    words=("server",),
    variables={"POSTGRES_PASSWORD": "hidden"},
    files={"/etc/logins.json": "secret"},
)
LABELS = {
    "app.kubernetes.io/managed-by": "kvsync-ci",
    "kvsync.dev/run": "7",
    "kvsync.dev/stage": "it-3.11",
    "kvsync.dev/service": "data",
}
MACHINE = Machine(kubeconfig="k", context="c", image="", manifests="", services="kvsync-7-services")

RUNNING = PodState(
    name="data",
    uid="u",
    ip="10.0.0.1",
    node="worker",
    created="2026-11-20T12:00:00+00:00",
    ready=True,
    deleting=False,
    restarts=0,
    labels=LABELS,
    container_id="ab12",
    trouble="",
    phase="Running",
)
FRESH = replace(RUNNING, node="", ready=False, container_id="", phase="Pending")


def test_a_service_is_a_pod_with_labels_and_a_secret_that_lists_of_pods_do_not_show() -> None:
    """The image, the port and the words are the service's; it never restarts by itself."""
    secret, pod = objects(SERVICE)
    (container,) = pod["spec"]["containers"]

    assert secret["metadata"] == pod["metadata"] == {"name": "data", "labels": LABELS}
    assert secret["stringData"] == {"POSTGRES_PASSWORD": "hidden", "logins.json": "secret"}
    assert "hidden" not in str(pod)
    assert "secret" not in str(container["args"])
    assert (container["image"], container["args"]) == ("postgres:18", ["server"])
    assert container["ports"] == [{"name": "service", "containerPort": 5432}]
    assert container["env"][-1] == {
        "name": "POSTGRES_PASSWORD",
        "valueFrom": {"secretKeyRef": {"name": "data", "key": "POSTGRES_PASSWORD"}},
    }
    assert container["volumeMounts"][-1] == {
        "name": "files",
        "mountPath": "/etc/logins.json",
        "subPath": "logins.json",
        "readOnly": True,
    }
    assert pod["spec"]["restartPolicy"] == "Never"


def test_a_service_is_confined_as_the_restricted_standard_of_pods_wants_it() -> None:
    """No root, no more rights than it has, no token, no files but those of its own empty folders."""
    _, pod = objects(SERVICE)
    spec, (container,) = pod["spec"], pod["spec"]["containers"]

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] != 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert {kind for each in spec["volumes"] for kind in each} == {"name", "emptyDir", "secret"}


def test_the_namespace_bears_the_run_and_has_an_account_that_may_do_nothing() -> None:
    """Its label is what cleaning asks for before it deletes."""
    made, account = namespace("kvsync-7-services", "7")

    assert made["metadata"]["labels"]["kvsync.dev/run"] == "7"
    assert account["metadata"] == {"name": "services", "namespace": "kvsync-7-services"}
    assert account["automountServiceAccountToken"] is False


def test_what_a_process_is_told_of_a_pod_is_what_it_reads() -> None:
    """Also in a text with all of it."""
    task = PodTask(machine=MACHINE, namespace="n", service=replace(SERVICE, words=[]), local_port=9)

    assert PodTask.read(task.write()) == task
    assert "hidden" not in repr(task)


PULL = "ErrImagePull: no such host"


@pytest.mark.parametrize(
    ("pod", "settled", "why"),
    [
        (RUNNING, True, ""),
        (FRESH, False, "it is pending: no node was chosen yet; "),
        (
            replace(FRESH, trouble="0/3 nodes are available: 3 Insufficient memory."),
            False,
            "it is pending: 0/3 nodes are available: 3 Insufficient memory.; end other pods, or give the",
        ),
        (
            replace(FRESH, node="worker", trouble="ContainerCreating"),
            False,
            "it is pending on node worker: ContainerCreating",
        ),
        (
            replace(FRESH, node="worker", trouble=PULL),
            True,
            f"its image postgres:18 cannot be pulled on node worker: {PULL}; name one in [services] of",
        ),
        (
            replace(FRESH, node="worker", trouble="CreateContainerConfigError: no such user"),
            True,
            "its container cannot be made: CreateContainerConfigError: no such user; name an image that user",
        ),
        (
            replace(RUNNING, trouble="OOMKilled", phase="Failed", exit_code=137),
            True,
            "its program ended with exit code 137 (OOMKilled); what it wrote is above. It runs as user 999,",
        ),
        (
            replace(RUNNING, restarts=3, trouble="CrashLoopBackOff: back-off 40s"),
            True,
            "its program ended (CrashLoopBackOff: back-off 40s); ",
        ),
        (
            replace(RUNNING, trouble="Evicted", phase="Failed", container_id=""),
            True,
            "its program ended (Evicted)",
        ),
        (replace(RUNNING, deleting=True), True, "it was deleted"),
        (None, False, "it was deleted"),
    ],
    ids=[
        "running",
        "fresh",
        "no room",
        "being made",
        "no image",
        "no such user",
        "out of memory",
        "crash loop",
        "evicted",
        "being deleted",
        "gone",
    ],
)
def test_why_a_pod_does_not_run_is_said_with_what_mends_it(
    pod: PodState | None, settled: bool, why: str
) -> None:
    """In Kubernetes' words; and whether to wait for it."""
    assert is_settled(pod) is settled
    assert has_started(pod) is (pod is RUNNING or bool(pod and pod.deleting))
    assert why_not(pod, "postgres:18")[: len(why) or None] == why


def test_the_processes_of_a_pod_cannot_be_stopped() -> None:
    """What can be had instead is said."""
    host = PodHost(PodTask(machine=MACHINE, namespace="n", service=SERVICE, local_port=9))

    assert host.source == "pod n/data, image postgres:18"
    assert host.cannot_pause.startswith(
        "data is pod n/data, image postgres:18, whose processes cannot be stopp"
    )
