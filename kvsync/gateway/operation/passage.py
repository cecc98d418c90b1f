"""What became of one request, for metrics and the log, and the id by which all sides know it.

A client's `X-Request-Id` is passed on to the engine and back; a request without one gets one.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kvsync.routing import Choice

REQUEST_ID = b"x-request-id"

LONGEST_ID = 128
"""Characters: longer ones, and those with others than printable ASCII, are replaced. They end up in logs."""

CLIENT = "kvsync.client"
"""Where a request's scope has the name of its client's key."""

_KEY = "kvsync.passage"


@dataclass(slots=True, kw_only=True)
class Passage:
    """One request on its way through the gateway; what is not known, or does not apply, is None or "".

    `client` is the name of the key that was shown. `prompt_tokens` are as the gateway counts them,
    `engine_prompt_tokens` and `reported` as the engine says.
    Times are seconds since the request came. `hides_usage`: the answer has a usage that the client did not
    ask for. `outcome` is a status, or how else the request ended.
    """

    request_id: str
    method: str
    path: str
    client: str = ""
    model: str = ""
    policy: str = ""
    pod: str = ""
    selection: str = "none"
    source_state: str = ""
    matched_blocks: int | None = None
    prompt_tokens: int | None = None
    predicted: int | None = None
    engine_prompt_tokens: int | None = None
    reported: int | None = None
    tokenize_s: float | None = None
    first_byte_s: float | None = None
    duration_s: float = 0.0
    attempts: int = 0
    hides_usage: bool = False
    status: int = 0
    outcome: str = ""

    def chose(self, choice: Choice) -> None:
        """Take note of a pod that is asked."""
        self.pod, self.selection = choice.pod, choice.selection.value
        self.matched_blocks, self.source_state = choice.matched_blocks, choice.state.value
        self.attempts += 1


def passage_of(scope: Scope) -> Passage:
    """Return the passage of a request."""
    passage: Passage = scope[_KEY]
    return passage


def request_id(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """Return the id that a request has, or a new one."""
    given = [value.decode("latin-1") for name, value in headers if name.lower() == REQUEST_ID]
    if len(given) == 1 and 0 < len(given[0]) <= LONGEST_ID and given[0].isascii() and given[0].isprintable():
        return given[0]
    return uuid4().hex


def with_id(headers: Sequence[tuple[bytes, bytes]], its_id: str) -> list[tuple[bytes, bytes]]:
    """Return headers with this id and no other."""
    others = [(name, value) for name, value in headers if name.lower() != REQUEST_ID]
    return [*others, (REQUEST_ID, its_id.encode())]


class Observed:
    """An ASGI application whose requests are observed, each when it has ended."""

    def __init__(
        self,
        app: ASGIApp,
        observe: Callable[[Passage], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._observe = observe
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, its_id = self._clock(), request_id(scope["headers"])
        passage = Passage(request_id=its_id, method=scope["method"], path=scope["path"])

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                passage.status = message["status"]
                message = {**message, "headers": with_id(message.get("headers", ()), its_id)}
            elif passage.first_byte_s is None and message.get("body"):
                passage.first_byte_s = self._clock() - began
            await send(message)

        asked = {**scope, "headers": with_id(scope["headers"], its_id), _KEY: passage}
        try:
            await self._app(asked, receive, noted)
        finally:
            passage.client = asked.get(CLIENT, "")
            passage.duration_s = self._clock() - began
            self._observe(passage)
