"""How one kind of server speaks of what happened: its headers, its proof that it is the sender, its events.

A dialect is a value; everything in it is pure. Whatever a server sends becomes an event of
`deployments.webhook.payload`. Where that names a repository owner/name it is one of GitHub's; other servers'
are called host/path, as there may be several with the same names.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers

from deployments.webhook.payload import WebhookEvent
from kvsync.ci.revision import address
from kvsync.errors import DecodeError

Reader = Callable[[bytes], WebhookEvent]
"""Reads the body of an event. Raises DecodeError with `reason` json or shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One kind of server.

    `marks`: the headers that name the event, and `ids` those that name the delivery: of each the first that
    is there counts. `is_signed` takes headers, body, secret, and the time in seconds since 1970; `proof` says
    what it wants. `events` has a reader and our own name for each event that may start something. `prefix`:
    of the deliveries' ids in the inbox.
    """

    marks: tuple[str, ...]
    ids: tuple[str, ...]
    is_signed: Callable[[Headers, bytes, str, float], bool]
    proof: str
    events: Mapping[str, tuple[str, Reader]]
    ping: str = ""
    prefix: str = ""

    def speaks(self, headers: Headers) -> bool:
        """Whether a request is of this dialect."""
        return any(mark in headers for mark in self.marks)


def first(headers: Headers, names: tuple[str, ...]) -> str:
    """Return the first of these headers that is there, "" if none is."""
    return next((headers[name] for name in names if name in headers), "")


def signature(body: bytes, secret: str) -> str:
    """Return the HMAC-SHA256 of a body in hexadecimal digits."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def is_once(headers: Headers, name: str, expected: str) -> bool:
    """Whether a header is there exactly once and has this value; compared in constant time."""
    match headers.getlist(name):
        case [given]:
            return hmac.compare_digest(expected.encode(), given.encode("latin-1"))
    return False


def named_by(url: str, kind: str) -> str:
    """Return what a repository is called, host/path. Raises DecodeError for what is no address."""
    if name := address(url):
        return name
    raise DecodeError("shape", f"{kind} payload: the repository's clone URL is not one")
