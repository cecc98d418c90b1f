"""What ends an answer before its time: a client that hangs up, and the end of the gateway."""

import asyncio
import logging
from collections.abc import Callable, Coroutine

from starlette.types import Message, Receive, Scope, Send

from kvsync.gateway.refusal import refusal

log = logging.getLogger(__name__)


async def to_its_end(
    scope: Scope, receive: Receive, send: Send, answer: Callable[[Send], Coroutine[None, None, None]]
) -> None:
    """Give an answer, until the client hangs up or the gateway ends; who got none of it by then gets 503."""
    has_begun = False

    async def noted(message: Message) -> None:
        nonlocal has_begun
        has_begun = True
        await send(message)

    try:
        await _unless_gone(receive, answer(noted))
    except asyncio.CancelledError:
        # uvicorn cancels what outlasts the grace period, and would print this as a defect.
        log.warning("a request to %s was cut off by the end of the gateway", scope["path"])
        if not has_begun:
            ended = refusal(scope["path"], 503, "the gateway ends", {"retry-after": "1"})
            await ended(scope, receive, send)


async def _unless_gone(receive: Receive, work: Coroutine[None, None, None]) -> None:
    """Run `work` to its end, or cancel it as soon as the client hangs up."""
    task, is_gone = asyncio.current_task(), False
    assert task

    def leave(_: object) -> None:
        nonlocal is_gone
        is_gone = True
        task.cancel()

    watch = asyncio.create_task(_hung_up(receive))
    watch.add_done_callback(leave)
    try:
        await work
    except asyncio.CancelledError:
        # The end of the gateway may cancel it as well.
        if not is_gone or task.uncancel():
            raise
    finally:
        watch.remove_done_callback(leave)
        watch.cancel()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
