"""Lets clients in that show a key, and lets their key go no further.

To engines it is of no use, and none of theirs: they get the gateway's own (`upstream.api_key`) in its place.
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kvsync.access.keys import STRANGER, KeyRing
from kvsync.access.peers import Headers
from kvsync.gateway.operation.passage import CLIENT
from kvsync.gateway.refusal import refused

OPEN = frozenset({"/healthz", "/readyz"})
"""Kubernetes' probes have no key."""

SHOWN_AS = frozenset({b"authorization", b"x-api-key"})

_LACKING = (
    "no key of this gateway was shown: send one as `Authorization: Bearer KEY`, as OpenAI's clients do, or as"
    " `x-api-key: KEY`"
)


class Guard:
    """ASGI middleware that answers 401 to requests without a key, and counts those with one by its name."""

    def __init__(
        self, app: ASGIApp, *, keys: KeyRing, credentials: Mapping[str, str], registry: CollectorRegistry
    ) -> None:
        """Make one; `credentials` are the headers that engines get in place of the client's."""
        self._app = app
        self._keys = keys
        self._own = [(name.encode(), value.encode()) for name, value in credentials.items()]
        self._requests = Counter(
            "kvsync_client_requests",
            "Requests by the name of their key, and by the status of their answer.",
            ("client", "status"),
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        headers: Headers = scope["headers"]
        name = next(filter(None, map(self._keys.name_of, shown(headers))), None)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._requests.labels(name or STRANGER, str(message["status"])).inc()
            await send(message)

        if name is None:
            answer = refused(Request(scope), HTTPException(401, _LACKING, {"www-authenticate": "Bearer"}))
            await answer(scope, receive, counted)
            return
        scope[CLIENT] = name  # also for what stands before this
        kept = [(header, value) for header, value in headers if header not in SHOWN_AS]
        await self._app({**scope, "headers": [*kept, *self._own]}, receive, counted)


def shown(headers: Headers) -> list[bytes]:
    """Return the keys that a request shows."""
    keys = []
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            keys.append(value[7:].strip())
        elif name == b"x-api-key":
            keys.append(value.strip())
    return keys
