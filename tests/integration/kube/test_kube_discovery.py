"""Pods as an API server lists and watches them, while nothing fails."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kvsync.pods import Pod
from kvsync.testing.doubles.api_server import FakeApiServer, pod_manifest

if TYPE_CHECKING:
    from tests.integration.conftest import Eventually
    from tests.integration.kube.conftest import Follow

A = Pod(name="a", model="qwen", host="10.0.0.1")
B = Pod(name="b", model="qwen", host="10.0.0.2")
C = Pod(name="c", model="qwen", host="10.0.0.3")


async def test_every_change_is_a_snapshot(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """Pods are added, become ready, change their address, model and label, and go; all others stay."""
    followed = follow()
    await eventually(lambda: not followed.problem)
    changes = [
        pod_manifest("b", ip="10.0.0.2", ready=False),
        pod_manifest("b", ip="10.0.0.2"),
        pod_manifest("b", ip="10.0.0.9"),
        pod_manifest("b", ip="10.0.0.9", labels={"model.aibrix.ai/name": "llama"}),
        pod_manifest("b", ip="10.0.0.9", labels={"model.aibrix.ai/kv-events-enabled": "false"}),
        pod_manifest("b", ip="10.0.0.2"),
        pod_manifest("b", ip="10.0.0.2", deleted_at="2026-01-02T03:04:05Z"),
    ]
    for change in changes:
        api.put(change)
    api.delete("b")
    api.delete("a")
    await eventually(lambda: followed.newest == ())

    assert followed.snapshots == [
        (A,),
        (A, Pod(name="b", model="qwen", host="10.0.0.2", ready=False)),
        (A, Pod(name="b", model="qwen", host="10.0.0.2")),
        (A, Pod(name="b", model="qwen", host="10.0.0.9")),
        (A, Pod(name="b", model="llama", host="10.0.0.9")),
        (A,),
        (A, Pod(name="b", model="qwen", host="10.0.0.2")),
        (A,),
        (),
    ]
    assert [asked.since for asked in api.asked] == [None, "101"]


async def test_a_pod_may_come_back_elsewhere(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """A pod that is deleted and made anew under its name, as a StatefulSet does, goes and comes."""
    followed = follow()
    await eventually(lambda: not followed.problem)
    api.delete("a")
    api.put(pod_manifest("a", ip="10.0.0.7"))
    await eventually(lambda: len(followed.snapshots) == 3)

    assert followed.snapshots == [(A,), (), (Pod(name="a", model="qwen", host="10.0.0.7"),)]


async def test_what_changes_nothing_is_no_snapshot(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """Of pods that are no engines or live elsewhere, and of changes that do not matter, nothing is heard."""
    followed = follow()
    await eventually(lambda: not followed.problem)
    api.put(pod_manifest("x", labels={"model.aibrix.ai/kv-events-enabled": "false"}))
    api.put(pod_manifest("a", ip="10.0.0.1", annotations={"other": "thing"}))
    api.put(pod_manifest("z", namespace="elsewhere"))
    api.put(pod_manifest("b", ip="10.0.0.2"))
    await eventually(lambda: followed.newest == (A, B))

    assert followed.snapshots == [(A,), (A, B)]


@pytest.mark.parametrize(
    ("options", "of_context", "path"),
    [
        ({"namespace": "mine"}, "other", "/api/v1/namespaces/mine/pods"),
        ({}, "mine", "/api/v1/namespaces/mine/pods"),
        ({"context": "fake"}, None, "/api/v1/namespaces/default/pods"),
        ({"namespace": "*"}, "other", "/api/v1/pods"),
    ],
    ids=["given", "of the context", "default", "all"],
)
async def test_one_namespace_or_all_are_asked_for(
    api: FakeApiServer,
    follow: "Follow",
    eventually: "Eventually",
    kubeconfig: Path,
    options: dict[str, str],
    of_context: str | None,
    path: str,
) -> None:
    """The namespace is the one that is given, or that of the kubeconfig's context."""
    api.kubeconfig(kubeconfig, namespace=of_context)
    followed = follow(**options)
    await eventually(lambda: not followed.problem)

    assert [asked.path for asked in api.asked] == [path, path]


async def test_pods_of_all_namespaces_have_different_names(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """Pods of one name in two namespaces are two pods, each named after both."""
    followed = follow(namespace="*")
    await eventually(lambda: not followed.problem)
    api.put(pod_manifest("a", namespace="other", ip="fd00::1"))
    api.delete("a", "default")
    await eventually(lambda: len(followed.snapshots) == 3)

    assert followed.snapshots == [
        (Pod(name="default/a", model="qwen", host="10.0.0.1"),),
        (
            Pod(name="default/a", model="qwen", host="10.0.0.1"),
            Pod(name="other/a", model="qwen", host="fd00::1"),
        ),
        (Pod(name="other/a", model="qwen", host="fd00::1"),),
    ]


async def test_a_watch_that_ends_is_followed_by_the_next(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """The API server ends each watch after the time it was asked for: no problem, and no pause is needed."""
    followed = follow(watch_s=1, retry_s=1000, retry_max_s=1000)
    await eventually(lambda: not followed.problem)
    api.put(pod_manifest("b", ip="10.0.0.2"))
    await eventually(lambda: len(api.asked) == 3)
    api.put(pod_manifest("c", ip="10.0.0.3"))
    await eventually(lambda: followed.newest == (A, B, C))

    assert [asked.since for asked in api.asked] == [None, "101", "102"]
    assert followed.problem == ""


async def test_a_bookmark_keeps_the_version_young(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """A watch goes on from a bookmark, although the versions of all pods are forgotten."""
    followed = follow(watch_s=1)
    await eventually(lambda: not followed.problem)
    api.put(pod_manifest("x", namespace="elsewhere"))
    api.bookmark()
    api.forget()
    await eventually(lambda: len(api.asked) == 3)
    api.put(pod_manifest("b", ip="10.0.0.2"))
    await eventually(lambda: followed.newest == (A, B))

    assert [asked.since for asked in api.asked] == [None, "101", "103"]
    assert followed.snapshots == [(A,), (A, B)]


async def test_an_event_may_be_long(api: FakeApiServer, follow: "Follow", eventually: "Eventually") -> None:
    """A pod with as many annotations as Kubernetes allows, 256 KiB, is read like any other."""
    followed = follow()
    await eventually(lambda: not followed.problem)
    api.put(pod_manifest("b", ip="10.0.0.2", annotations={"long": "x" * 256 * 1024}))
    await eventually(lambda: followed.newest == (A, B))

    assert followed.snapshots == [(A,), (A, B)]


@pytest.mark.parametrize(
    ("step_s", "told"), [(0.0, ["b"]), (60.0, ["b", "c"])], ids=["at the same time", "minutes apart"]
)
async def test_a_wrong_annotation_concerns_one_pod(
    api: FakeApiServer,
    follow: "Follow",
    eventually: "Eventually",
    caplog: pytest.LogCaptureFixture,
    step_s: float,
    told: list[str],
) -> None:
    """The pod is followed at its default ports; it is told once, and of one pod in a minute."""
    minutes = itertools.count()
    followed = follow(clock=lambda: step_s * next(minutes))
    await eventually(lambda: not followed.problem)
    wrong = {"kvsync.dev/event-port": "0"}
    api.put(pod_manifest("b", ip="10.0.0.2", annotations=wrong))
    api.put(pod_manifest("b", ip="10.0.0.2", annotations=wrong, ready=False))
    api.put(pod_manifest("c", ip="10.0.0.3", annotations=wrong))
    api.put(pod_manifest("d", ip="10.0.0.4", annotations={"kvsync.dev/event-port": "6000"}))
    await eventually(lambda: len(followed.snapshots) == 5)

    assert followed.newest == (
        A,
        Pod(name="b", model="qwen", host="10.0.0.2", ready=False),
        C,
        Pod(name="d", model="qwen", host="10.0.0.4", event_port=6000),
    )
    assert followed.problem == ""
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"pod {name}: kvsync.dev/event-port: input should be greater than or equal to 1, not '0';"
        " the default is used (0 more such pods since the last such line)"
        for name in told
    ]
