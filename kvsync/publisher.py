"""Publish event batches as an engine does: a PUB socket, and a ROUTER that repeats what is in the ring.

Rules, as in vLLM: every batch has a number, from 0 in steps of 1; a batch that was lost on the way keeps
its number and stays in the ring; a replay begins at the wanted number or, without a word, at the oldest
one kept; an end marker with eight 0xFF bytes for a number closes it. A replay is sent at once, and what does
not fit into the peer's queue is lost without a word, even the end marker.
"""

import re
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Protocol, Self

import zmq
import zmq.asyncio

from kvsync.codec import END_SEQUENCE, decode_sequence, encode_sequence
from kvsync.errors import ConfigError, DecodeError, PortInUse

Frames = tuple[bytes, bytes, bytes]
"""What one live message consists of: topic, sequence, payload."""

_IPV4 = re.compile(r"tcp://\d+\.\d+\.\d+\.\d+:")

LIVE_QUEUE = 100_000
"""Live messages kept for a subscriber that does not keep up: vLLM's default."""

REPLAY_QUEUE = 1000
"""Messages of replays kept for a peer: libzmq's default, which vLLM and SGLang do not change."""


class ReplayLayout(Enum):
    """How a replayed batch is framed, as a DEALER sees it."""

    OLD = "old"
    """`["", sequence, payload]`: vLLM up to 0.25 and SGLang."""
    NEW = "new"
    """`["", topic, sequence, payload]`: vLLM from 0.26 on (PR #45177)."""


class Channel(Protocol):
    """What happens to a live message on its way out; the place for faults."""

    def carry(self, message: Frames) -> Sequence[Frames]:
        """The messages that leave instead of this one."""


class Publisher:
    """One engine's event stream. Binds on entering, closes on leaving; lives in one event loop.

    `buffer_steps` batches are kept for replays. `hwm` and `replay_hwm` bound the messages that are kept for
    each subscriber and for each peer that asked for a replay; without a bound, 0, no replay loses anything.
    """

    def __init__(
        self,
        *,
        endpoint: str = "tcp://*:5557",
        replay_endpoint: str | None = None,
        topic: str = "",
        buffer_steps: int = 10_000,
        hwm: int = LIVE_QUEUE,
        replay_hwm: int = REPLAY_QUEUE,
        replay_layout: ReplayLayout = ReplayLayout.NEW,
        channel: Channel | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.replay_endpoint = replay_endpoint
        self._topic = topic.encode()
        self._buffer_steps = buffer_steps
        self._hwm = hwm
        self._replay_hwm = replay_hwm
        self._layout = replay_layout
        self._channel = channel
        self.restart()

    async def __aenter__(self) -> Self:
        """Bind; `endpoint` and `replay_endpoint` then name the real ports. Raises PortInUse, ConfigError."""
        self._context = zmq.Context()
        self._live = self._context.socket(zmq.PUB)
        self._router = zmq.asyncio.Socket(self._context, zmq.ROUTER)
        try:
            self._live.sndhwm = self._hwm
            self.endpoint = _bind(self._live, self.endpoint)
            if self.replay_endpoint is not None:
                self._router.sndhwm = self._replay_hwm
                self.replay_endpoint = _bind(self._router, self.replay_endpoint)
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._live.close(linger=0)
        self._router.close(linger=0)
        self._context.term()

    @property
    def next_sequence(self) -> int:
        """The number of the next batch."""
        return self._next

    def publish(self, payload: bytes) -> int:
        """Send a batch and keep it for replays, even if the channel loses it. Never waits."""
        number = self._next
        self._next += 1
        message = (self._topic, encode_sequence(number), payload)
        self._ring.append((number, message))
        for carried in [message] if self._channel is None else self._channel.carry(message):
            self.send_now(carried)
        return number

    def send_now(self, message: Sequence[bytes]) -> None:
        """Send frames as one live message, bypassing ring and channel; after closing they are lost."""
        if not self._live.closed:
            self._live.send_multipart(message, zmq.NOBLOCK)

    def restart(self) -> None:
        """Forget everything published, as an engine does that restarts behind the same address."""
        self._next = 0
        self._ring: deque[tuple[int, Frames]] = deque(maxlen=self._buffer_steps)

    async def serve(self) -> None:
        """Answer requests for a replay until cancelled; others than `["", sequence]` are ignored."""
        while True:
            match await self._router.recv_multipart():
                case [identity, b"", wanted]:
                    try:
                        start = decode_sequence(wanted)
                    except DecodeError:
                        continue
                    self._repeat(identity, start)

    def _repeat(self, identity: bytes, start: int) -> None:
        end = (b"", END_SEQUENCE, b"")
        router: zmq.Socket[bytes] = zmq.Socket.shadow(self._router.underlying)
        for message in [*(message for number, message in self._ring if number >= start), end]:
            router.send_multipart([identity, b"", *self._framed(message)], zmq.NOBLOCK)

    def _framed(self, message: Frames) -> Sequence[bytes]:
        return message if self._layout is ReplayLayout.NEW else message[1:]


def _bind(socket: zmq.Socket[bytes] | zmq.asyncio.Socket, endpoint: str) -> str:
    try:
        # An IPv4 address bound with this option would be reported in its IPv6 form.
        socket.ipv6 = not _IPV4.match(endpoint)
        socket.bind(endpoint)
        return str(socket.getsockopt_string(zmq.LAST_ENDPOINT)).rstrip("\0")
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise PortInUse(endpoint, listener_on(endpoint)) from error
        raise ConfigError("publisher", [f"cannot bind {endpoint}: {error}"]) from error


def listener_on(endpoint: str) -> str | None:
    """Who listens on `tcp://127.0.0.1:5557`, say, as `name (pid 7)`; None if this user may not know."""
    import psutil  # Costs 50 ms, and only a start that fails needs it.

    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    everywhere = {"*", "0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    with suppress(psutil.Error):
        for listener in psutil.net_connections("tcp"):
            if listener.status != psutil.CONN_LISTEN or listener.pid is None or not listener.laddr:
                continue
            same_host = host in everywhere or listener.laddr.ip in {host.strip("[]"), *everywhere}
            if same_host and str(listener.laddr.port) == port:
                return f"{psutil.Process(listener.pid).name()} (pid {listener.pid})"
    return None
