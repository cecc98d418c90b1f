"""Stampede protection: of callers that want the same at the same time, one fetches it for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class Flights(Generic[_Value]):
    """What is being fetched now, by what it is called."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[_Value]] = {}

    async def fetch(self, name: Hashable, action: Callable[[], Awaitable[_Value]]) -> _Value:
        """Return what `action` returns, or what another one with this name is about to.

        A caller that gives up does not end it for the others.
        """
        task = self._under_way.get(name)
        if task is None:
            task = asyncio.ensure_future(_awaited(action))
            self._under_way[name] = task
            task.add_done_callback(lambda done: self._landed(name, done))
        return await asyncio.shield(task)

    def forget(self, name: Hashable) -> None:
        """Let those who come from now on fetch anew: what is under way may be out of date."""
        self._under_way.pop(name, None)

    def _landed(self, name: Hashable, task: asyncio.Task[_Value]) -> None:
        if self._under_way.get(name) is task:
            del self._under_way[name]
        if not task.cancelled():
            task.exception()  # perhaps no caller is left who could have seen it


async def _awaited(action: Callable[[], Awaitable[_Value]]) -> _Value:
    return await action()
