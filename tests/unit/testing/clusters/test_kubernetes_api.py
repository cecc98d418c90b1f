"""What Kubernetes says of pods, Deployments and events, in the test kit's words."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from kubernetes.client import (
    CoreV1Event,
    V1ContainerState,
    V1ContainerStateTerminated,
    V1ContainerStateWaiting,
    V1ContainerStatus,
    V1Deployment,
    V1DeploymentSpec,
    V1DeploymentStatus,
    V1LabelSelector,
    V1ObjectMeta,
    V1ObjectReference,
    V1Pod,
    V1PodCondition,
    V1PodSpec,
    V1PodStatus,
    V1PodTemplateSpec,
)

from kvsync.testing.clusters.kubernetes.api import PodState, pod_event, pod_state, rolled_out

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LATER, LATEST = NOON + timedelta(seconds=1), NOON + timedelta(seconds=2)

READY = V1PodCondition(type="Ready", status="True")
SCHEDULED = V1PodCondition(type="PodScheduled", status="True")
RUNNING = PodState(
    name="engine-1",
    uid="u",
    ip="10.0.0.1",
    node="worker",
    created="2026-11-20T12:00:00+00:00",
    ready=True,
    deleting=False,
    restarts=1,
    labels={"app": "engine"},
    container_id="ab12",
    trouble="",
)
FRESH = replace(RUNNING, ip="", node="", ready=False, restarts=0, labels={}, container_id="")


def container(state: V1ContainerState | None, container_id: str | None, restarts: int) -> V1ContainerStatus:
    """Return the status of a container."""
    return V1ContainerStatus(
        name="engine",
        image="i",
        image_id="",
        ready=False,
        restart_count=restarts,
        container_id=container_id,
        state=state,
    )


def pod(
    *conditions: V1PodCondition, state: V1ContainerState | None = None, deleted: datetime | None = None
) -> V1Pod:
    """Return a pod on a node, whose container was started twice."""
    statuses = [container(state or V1ContainerState(), "containerd://ab12", 1)]
    return V1Pod(
        metadata=V1ObjectMeta(
            name="engine-1",
            uid="u",
            labels={"app": "engine"},
            creation_timestamp=NOON,
            deletion_timestamp=deleted,
        ),
        spec=V1PodSpec(containers=[], node_name="worker"),
        status=V1PodStatus(pod_ip="10.0.0.1", conditions=list(conditions), container_statuses=statuses),
    )


def fresh(status: V1PodStatus) -> V1Pod:
    """Return a pod that was just made."""
    return V1Pod(
        metadata=V1ObjectMeta(name="engine-1", uid="u", creation_timestamp=NOON),
        spec=V1PodSpec(containers=[]),
        status=status,
    )


WAITING = V1ContainerState(waiting=V1ContainerStateWaiting(reason="ErrImagePull", message="no such host"))
ENDED = V1ContainerState(terminated=V1ContainerStateTerminated(exit_code=137, reason="OOMKilled"))
NO_ROOM = V1PodCondition(type="PodScheduled", status="False", message="0/3 nodes have room")


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        (pod(SCHEDULED, READY), RUNNING),
        (pod(SCHEDULED, V1PodCondition(type="Ready", status="False")), replace(RUNNING, ready=False)),
        (pod(SCHEDULED), replace(RUNNING, ready=False)),
        (pod(READY, deleted=NOON), replace(RUNNING, ready=False, deleting=True)),
        (pod(READY, state=WAITING), replace(RUNNING, trouble="ErrImagePull: no such host")),
        (pod(READY, state=ENDED), replace(RUNNING, trouble="OOMKilled", exit_code=137)),
        (fresh(V1PodStatus()), FRESH),
        (fresh(V1PodStatus(conditions=[NO_ROOM])), replace(FRESH, trouble="0/3 nodes have room")),
        (fresh(V1PodStatus(container_statuses=[container(None, None, 0)])), FRESH),
    ],
    ids=[
        "ready",
        "not ready",
        "no word of being ready",
        "being deleted",
        "container waits",
        "container ended",
        "nothing known",
        "no node takes it",
        "no container yet",
    ],
)
def test_a_pod_is_what_its_status_says(raw: V1Pod, state: PodState) -> None:
    """One that is being deleted is not ready, whatever its conditions still say."""
    assert pod_state(raw) == state


@pytest.mark.parametrize(
    ("trouble", "restarts", "hopeless"),
    [
        ("", 9, False),
        ("ContainerCreating", 0, False),
        ("ErrImagePull: no such host", 0, True),
        ("ImagePullBackOff", 0, True),
        ("CreateContainerConfigError: no such user", 0, True),
        ("CrashLoopBackOff: back-off 10s", 2, False),
        ("CrashLoopBackOff: back-off 40s", 3, True),
        ("Error", 3, False),
        ("0/3 nodes have room", 0, False),
    ],
)
def test_waiting_for_a_pod_is_hopeless_without_an_image_or_after_many_crashes(
    trouble: str, restarts: int, hopeless: bool
) -> None:
    """A program that tests ended twice comes back; an image that cannot be had does not come."""
    assert replace(RUNNING, trouble=trouble, restarts=restarts).is_hopeless is hopeless


def deployment(replicas: int, status: V1DeploymentStatus) -> V1Deployment:
    """Return a Deployment that was changed for the seventh time."""
    spec = V1DeploymentSpec(replicas=replicas, selector=V1LabelSelector(), template=V1PodTemplateSpec())
    return V1Deployment(metadata=V1ObjectMeta(generation=7), spec=spec, status=status)


@pytest.mark.parametrize(
    ("observed", "total", "updated", "ready", "replicas"),
    [
        (7, 2, 2, 2, 2),
        (8, 2, 2, 2, 2),
        (6, 2, 2, 2, None),
        (None, 2, 2, 2, None),
        (7, 3, 2, 2, None),
        (7, 2, 1, 2, None),
        (7, 2, 2, None, None),
    ],
    ids=["all", "newer", "not seen yet", "never seen", "an old one is left", "one is old", "none is ready"],
)
def test_a_deployment_is_rolled_out_when_all_its_pods_are_new_and_ready(
    observed: int | None, total: int, updated: int, ready: int | None, replicas: int | None
) -> None:
    """Numbers of before its last change say nothing."""
    status = V1DeploymentStatus(
        observed_generation=observed, replicas=total, updated_replicas=updated, ready_replicas=ready
    )

    assert rolled_out(deployment(2, status)) == replicas


def test_a_deployment_of_no_pods_is_rolled_out() -> None:
    """Kubernetes leaves out numbers that are zero."""
    assert rolled_out(deployment(0, V1DeploymentStatus(observed_generation=7))) == 0


@pytest.mark.parametrize(
    ("kind", "words"),
    [("Normal", "Killing"), ("Warning", "Killing: Stopping container engine")],
    ids=["normal", "warning"],
)
def test_an_event_is_a_moment_a_pod_and_a_few_words(kind: str, words: str) -> None:
    """The message is told of what is wrong only."""
    told = pod_event(event(kind, last=NOON))

    assert told == {"wall": NOON.timestamp(), "pod": "engine-1", "event": words}


@pytest.mark.parametrize(
    ("last", "noted", "moment"),
    [(LATEST, LATER, LATEST), (None, LATER, LATER), (None, None, NOON)],
    ids=["the last of several", "of a newer kind", "neither"],
)
def test_the_moment_of_an_event_is_the_last_that_is_known(
    last: datetime | None, noted: datetime | None, moment: datetime
) -> None:
    """An event stands for all that were alike since it was made."""
    assert pod_event(event("Normal", last=last, noted=noted))["wall"] == moment.timestamp()


def event(kind: str, *, last: datetime | None, noted: datetime | None = None) -> CoreV1Event:
    """Return an event that was made at noon."""
    return CoreV1Event(
        metadata=V1ObjectMeta(creation_timestamp=NOON),
        involved_object=V1ObjectReference(kind="Pod", name="engine-1"),
        event_time=noted,
        last_timestamp=last,
        reason="Killing",
        message="Stopping container engine",
        type=kind,
    )
