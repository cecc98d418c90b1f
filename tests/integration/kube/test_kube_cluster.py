"""Pods of a real cluster, which is named by a kubeconfig in KVSYNC_CI_TEST_KUBECONFIG.

They run an image that is on the nodes already, such as that of Kubernetes' own pauses; another one can be
named in KVSYNC_CI_TEST_IMAGE.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes.aio.client import (
    ApiException,
    CoreV1Api,
    V1Container,
    V1Namespace,
    V1ObjectMeta,
    V1Pod,
    V1PodSpec,
)
from kubernetes.aio.config import new_client_from_config

from kvsync.pods import Pod

if TYPE_CHECKING:
    from tests.integration.kube.conftest import Follow

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

WITHIN_S = 120.0
"""A busy machine takes its time to start a pod."""

CONFLICT, FORBIDDEN = 409, 403


class Namespace:
    """A namespace of its own, and the pods that the API server has in it."""

    def __init__(self, core: CoreV1Api, name: str, image: str) -> None:
        self.core = core
        self.name = name
        self._image = image

    async def create(self, pod: str) -> None:
        """Start an engine that does nothing, as soon as the namespace lets pods in."""
        labels = {"model.aibrix.ai/kv-events-enabled": "true", "model.aibrix.ai/name": "qwen"}
        container = V1Container(name="engine", image=self._image, image_pull_policy="IfNotPresent")
        body = V1Pod(
            metadata=V1ObjectMeta(name=pod, labels=labels),
            spec=V1PodSpec(
                containers=[container],
                termination_grace_period_seconds=0,
                automount_service_account_token=False,
            ),
        )
        async with asyncio.timeout(WITHIN_S):
            while True:
                try:
                    await self.core.create_namespaced_pod(self.name, body)
                except ApiException as error:
                    if error.status not in (CONFLICT, FORBIDDEN):  # the old pod, no service account yet
                        raise
                else:
                    return
                await asyncio.sleep(0.2)

    async def label(self, pod: str, **labels: str) -> None:
        """Change AIBrix' labels of a pod."""
        body = {"metadata": {"labels": {f"model.aibrix.ai/{key}": text for key, text in labels.items()}}}
        await self.core.patch_namespaced_pod(pod, self.name, body)

    async def delete(self, pod: str) -> None:
        """Delete a pod at once."""
        await self.core.delete_namespaced_pod(pod, self.name, grace_period_seconds=0)


@pytest.fixture
def cluster() -> Path:
    """The kubeconfig of a cluster that is there for tests."""
    if not (named := os.environ.get("KVSYNC_CI_TEST_KUBECONFIG")):
        pytest.skip("KVSYNC_CI_TEST_KUBECONFIG names no cluster")
    return Path(named)


@pytest.fixture
async def namespace(cluster: Path) -> AsyncIterator[Namespace]:
    """A namespace that is deleted after the test."""
    client = await new_client_from_config(str(cluster), persist_config=False)  # type: ignore[no-untyped-call]
    core, name = CoreV1Api(client), f"kvsync-test-{uuid.uuid4().hex[:8]}"
    image = os.environ.get("KVSYNC_CI_TEST_IMAGE") or await pause_image(core)
    labels = {"app.kubernetes.io/managed-by": "kvsync-ci"}
    await core.create_namespace(V1Namespace(metadata=V1ObjectMeta(name=name, labels=labels)))
    try:
        yield Namespace(core, name, image)
    finally:
        await core.delete_namespace(name)
        await client.close()


async def pause_image(core: CoreV1Api) -> str:
    """Find the image that holds a pod's namespaces on some node; it does nothing until it is stopped."""
    nodes = (await core.list_node()).to_dict()["items"]
    names: list[str] = [
        name for node in nodes for image in node["status"]["images"] for name in image["names"]
    ]
    return next(name for name in names if "/pause:" in name)


async def until(condition: Callable[[], object], seen: Callable[[], Any]) -> None:
    """Wait for a condition; a failure shows what was seen instead."""
    try:
        async with asyncio.timeout(WITHIN_S):
            while not condition():  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"did not come true within {WITHIN_S} s; seen: {seen()}")


async def test_pods_of_a_cluster_are_followed(cluster: Path, namespace: Namespace, follow: "Follow") -> None:
    """A pod comes, gets ready, changes its labels, is made anew at another address, and goes."""
    followed = follow(kubeconfig=cluster, namespace=namespace.name, timeout_s=30.0, watch_s=5)

    async def see(condition: Callable[[tuple[Pod, ...]], object]) -> tuple[Pod, ...]:
        await until(
            lambda: followed.snapshots and condition(followed.newest),
            lambda: (followed.snapshots, followed.problem),
        )
        return followed.newest

    assert await see(lambda pods: True) == ()
    await namespace.create("a")
    (first,) = await see(lambda pods: pods and pods[0].ready)
    await namespace.label("a", name="llama")
    (second,) = await see(lambda pods: pods and pods[0].model == "llama")
    await namespace.label("a", **{"kv-events-enabled": "false"})
    await see(lambda pods: not pods)
    await namespace.label("a", **{"kv-events-enabled": "true"})
    await see(lambda pods: pods)
    await namespace.delete("a")
    await namespace.create("a")
    (third,) = await see(lambda pods: pods and pods[0].ready and pods[0].host != first.host)
    await namespace.delete("a")
    await see(lambda pods: not pods)

    assert first == Pod(name="a", model="qwen", host=first.host)
    assert second == Pod(name="a", model="llama", host=first.host)
    assert third == Pod(name="a", model="qwen", host=third.host)
    assert followed.problem == ""
