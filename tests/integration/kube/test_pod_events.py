"""What Kubernetes notes about pods, as the report's time line takes it."""

from datetime import UTC, datetime

import pytest
from kubernetes.client import CoreV1Event, V1ObjectMeta, V1ObjectReference

from kvsync.testing.kubernetes_api import pod_event

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("Normal", "Killing"), ("Warning", "Killing: Stopping container engine")],
    ids=["normal", "warning"],
)
def test_an_event_is_a_moment_a_pod_and_a_few_words(kind: str, words: str) -> None:
    """The message is told of what is wrong only; without a last moment it is the one of creation."""
    event = CoreV1Event(
        metadata=V1ObjectMeta(name="e", creation_timestamp=NOON),
        involved_object=V1ObjectReference(kind="Pod", name="engine-qwen-1"),
        reason="Killing",
        message="Stopping container engine",
        type=kind,
    )

    assert pod_event(event) == {"wall": NOON.timestamp(), "pod": "engine-qwen-1", "event": words}
