"""Who may stay connected to a server of ours while it fills up: not those who only take a place.

A connection that has sent nothing, half a header or half a body costs its sender nothing, and may come from
anyone. So a new one is always let in, in the place of the one that is the longest at it among those of the
address that has most. GitHub's deliveries take milliseconds, also behind a proxy whose address all have.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from deployments.allowance import network

MAX_CONNECTIONS = 100
MAX_HELD = 256 * 1024**2
"""Bytes of all bodies that are not whole yet."""
HEAD_TIMEOUT_S = 10.0
"""For the header of a request, from the connection or the answer before it."""


class Caller(Protocol):
    """A connection, as far as it matters who leaves."""

    @property
    def address(self) -> str:
        """Where it comes from."""

    @property
    def since(self) -> float:
        """When its request began."""

    @property
    def held(self) -> int:
        """Bytes of its request that have come."""

    @property
    def is_receiving(self) -> bool:
        """Whether its request is not whole yet, so that it can be ended without a loss."""


def too_many(callers: Iterable[Caller], limit: int) -> Caller | None:
    """Return who leaves when there are more than `limit`; None: there is room, or all are being answered."""
    everyone = list(callers)
    idle = [each for each in everyone if each.is_receiving]
    if len(everyone) <= limit or not idle:
        return None
    crowd = Counter(each.address for each in idle)
    return min(idle, key=lambda each: (-crowd[each.address], each.since))


def too_much(callers: Iterable[Caller], limit: int) -> Caller | None:
    """Return who leaves when unfinished bodies hold more than `limit` bytes: the one that is slowest."""
    bodies = [each for each in callers if each.is_receiving and each.held]
    if sum(each.held for each in bodies) <= limit:
        return None
    return min(bodies, key=lambda each: each.since)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What the connections of a server may take together; `clock` counts seconds."""

    connections: int = MAX_CONNECTIONS
    held: int = MAX_HELD
    head_timeout_s: float = HEAD_TIMEOUT_S
    clock: Callable[[], float] = time.monotonic


class Guarded(H11Protocol):
    """A connection of uvicorn's that leaves when it is in the way of others; see `guarded`."""

    limits: ClassVar[ConnectionLimits]
    present: ClassVar[set["Guarded"]]
    address, since, held = "", 0.0, 0
    _timer: asyncio.TimerHandle | None = None

    @property
    def is_receiving(self) -> bool:
        """See Caller."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let it in, in the place of another."""
        super().connection_made(transport)
        self.address = network(self.client[0] if self.client else "")
        self.present.add(self)
        self._begin()
        self._turn_out(too_many(self.present, self.limits.connections))

    def data_received(self, data: bytes) -> None:
        """Count what came."""
        self.held += len(data)
        super().data_received(data)
        self._turn_out(too_much(self.present, self.limits.held))

    def on_response_complete(self) -> None:
        """Wait for its next request."""
        super().on_response_complete()
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_timer()
        self.present.discard(self)
        super().connection_lost(exc)

    def _begin(self) -> None:
        self.since, self.held = self.limits.clock(), 0
        self._stop_timer()
        self._timer = self.loop.call_later(self.limits.head_timeout_s, self._head_is_late)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _head_is_late(self) -> None:
        if self.conn.their_state is h11.IDLE:
            self.transport.abort()

    def _turn_out(self, caller: Caller | None) -> None:
        if isinstance(caller, Guarded):
            self.present.discard(caller)
            caller.transport.abort()


def guarded(limits: ConnectionLimits) -> type[H11Protocol]:
    """Return uvicorn's protocol with these limits, for the connections of one server."""
    return type("Guarded", (Guarded,), {"limits": limits, "present": set()})
