"""Which pods are followed: by any labels, in one namespace or several."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING

from kvsync.config import KubernetesConfig
from kvsync.kube.several import SeveralNamespaces
from kvsync.pods import Pod
from kvsync.testing.doubles.api_server import FakeApiServer, pod_manifest
from tests.integration.kube.conftest import QUICK

if TYPE_CHECKING:
    from tests.integration.conftest import Eventually
    from tests.integration.kube.conftest import Follow

Background = Callable[[Coroutine[object, object, None]], "asyncio.Task[None]"]


async def test_engines_are_those_of_the_selector(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """Pods of others' Deployments need none of our labels; what they do not say is set once for all."""
    defaults = {"model": "org/phi", "port": 8200}
    followed = follow(selector="app=phi,tier=serving", defaults=defaults)
    await eventually(lambda: not followed.problem)

    for name, tier in (("b", "serving"), ("c", "batch")):
        manifest = pod_manifest(name, ip="10.0.0.2")
        manifest["metadata"] |= {"labels": {"app": "phi", "tier": tier}}  # type: ignore[operator]
        api.put(manifest)
    await eventually(lambda: followed.newest != ())

    assert followed.newest == (Pod(name="b", model="org/phi", host="10.0.0.2", port=8200),)


async def test_several_namespaces_are_followed_each_by_itself(
    api: FakeApiServer, kubeconfig: Path, background: Background, eventually: "Eventually"
) -> None:
    """Pods are named with their namespace; rights in other namespaces are not needed."""
    namespaces = ["default", "other"]
    settings = {**QUICK, "kubeconfig": kubeconfig, "namespaces": namespaces}
    several = SeveralNamespaces(KubernetesConfig.model_validate(settings))
    newest: tuple[Pod, ...] = ()

    async def run() -> None:
        nonlocal newest
        async for pods in several.watch():
            newest = pods

    def named() -> list[str]:
        return [pod.name for pod in newest]

    background(run())
    api.put(pod_manifest("a", namespace="other"))
    api.put(pod_manifest("a", namespace="third"))
    await eventually(lambda: named() == ["default/a", "other/a"])
    await eventually(lambda: not several.problem)
    assert {asked.path for asked in api.asked} == {f"/api/v1/namespaces/{name}/pods" for name in namespaces}

    api.delete("a")
    await eventually(lambda: named() == ["other/a"])
    await api.away()
    await eventually(lambda: several.problem.count("no news of pods since") == len(namespaces))
    assert several.problem.startswith("namespace default: no news")
    assert named() == ["other/a"]
