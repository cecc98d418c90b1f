"""The pods of several namespaces, each followed by itself: it takes rights in each, and none in others."""

import asyncio
from collections.abc import AsyncIterator

from kvsync.config import KubernetesConfig
from kvsync.kube.discovery import KubernetesDiscovery
from kvsync.pods import Pod


class SeveralNamespaces:
    """The engines in the namespaces of `config`, named `namespace/name`.

    While one of them cannot be followed its last pods stay, and the others are followed.
    """

    def __init__(self, config: KubernetesConfig) -> None:
        self._each = {
            name: KubernetesDiscovery(
                config.model_copy(update={"namespace": name, "namespaces": ()}), qualified=True
            )
            for name in config.namespaces
        }

    @property
    def problem(self) -> str:
        """Why the latest pods may be out of date, namespace by namespace; empty: they are not."""
        wrong = {name: discovery.problem for name, discovery in self._each.items() if discovery.problem}
        return "; ".join(f"namespace {name}: {problem}" for name, problem in wrong.items())

    async def watch(self) -> AsyncIterator[tuple[Pod, ...]]:
        """All engines sorted by name, at the beginning and after each change."""
        found: dict[str, tuple[Pod, ...]] = {}
        news = asyncio.Event()

        async def follow(name: str, discovery: KubernetesDiscovery) -> None:
            try:
                async for pods in discovery.watch():
                    found[name] = pods
                    news.set()
            finally:
                news.set()

        tasks = [asyncio.create_task(follow(name, each)) for name, each in self._each.items()]
        try:
            while True:
                await news.wait()
                news.clear()
                for task in tasks:
                    if task.done():
                        task.result()  # a defect: it never ends by itself
                yield tuple(
                    sorted((pod for pods in found.values() for pod in pods), key=lambda pod: pod.name)
                )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
