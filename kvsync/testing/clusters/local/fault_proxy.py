"""A TCP proxy that refuses, stalls, delays, throttles, corrupts and cuts.

One FaultProxy runs an event loop in a thread of its own and serves any number of listeners; each listener
has a target and rules, both of which can be changed while connections are open. `up` is the direction from
the client to the target.

A stalled listener still accepts connections, because the kernel does: to a client it is a host that went
silent with the connection open, which is harder to notice than one that cannot be connected to.
"""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Literal, Self, TypeVar

from kvsync.errors import PortInUse
from kvsync.testing.errors import ClusterError

T = TypeVar("T")
Direction = Literal["up", "down"]
StreamPair = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_CALL_TIMEOUT_S = 10.0
"""How long a change of rules may take: each only flips values and closes sockets."""
_CHUNK = 64 * 1024
_CHUNKS_IN_FLIGHT = 256
"""Per direction; bounds what a slow or stalled connection keeps in memory to 16 MiB."""
_CORRUPTED = 16
"""Bytes flipped in a corrupted chunk; a single one could pass as another token id and never be noticed."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a listener does to its connections; the default is nothing.

    `refuse` closes the listening socket, so that connecting fails at once. `stall` holds back what goes in
    that direction, its end included, and lets it go when lifted. `delay_s`, give or take `jitter_s`, is
    added to each direction, in order. `bytes_per_s` bounds each direction of each connection. `corrupt` is
    the fraction of chunks in which some bytes in a row are flipped.
    """

    refuse: bool = False
    stall: frozenset[Direction] = frozenset()
    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    corrupt: float = 0.0


CLEAR = Rules()
SILENT = Rules(stall=frozenset({"up", "down"}))


@dataclass(slots=True)
class ListenerCounters:
    """What a listener did since it was opened; bytes are counted when they are passed on."""

    connections: int = 0
    cut: int = 0
    corrupted: int = 0
    passed_bytes: dict[Direction, int] = field(default_factory=lambda: {"up": 0, "down": 0})


class FaultProxy:
    """Listeners that can be made to misbehave; a context manager that leaves no socket behind."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._listeners: set[Listener] = set()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Close every listener, reset every connection, end the thread."""
        for listener in tuple(self._listeners):
            listener.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_TIMEOUT_S)
        self._loop.close()

    def listen(self, host: str, port: int, target: tuple[str, int], rules: Rules = CLEAR) -> "Listener":
        """Pass connections to `host:port` (0: any port) on to `target`. Raises PortInUse."""
        listener = Listener(self, host, port, target, rules)
        self.call(listener.open())
        self._listeners.add(listener)
        return listener

    def forget(self, listener: "Listener") -> None:
        """Drop a closed listener."""
        self._listeners.discard(listener)

    def uniform(self, low: float, high: float) -> float:
        """A number drawn from the proxy's seed."""
        return self._rng.uniform(low, high)

    def call(self, work: Coroutine[object, object, T]) -> T:
        """Run `work` on the proxy's loop and wait for it. Raises ClusterError when it hangs."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(_CALL_TIMEOUT_S)
        except TimeoutError as exc:
            future.cancel()
            raise ClusterError(f"the fault proxy did not answer within {_CALL_TIMEOUT_S:g} s") from exc


class Listener:
    """One listening address of a FaultProxy. Its methods may be called from any thread."""

    def __init__(
        self, proxy: FaultProxy, host: str, port: int, target: tuple[str, int], rules: Rules
    ) -> None:
        self.host, self.port = host, port
        self._proxy, self._target, self._rules = proxy, target, rules
        self._server: socket.socket | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._counters = ListenerCounters()

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        return self._rules

    @property
    def target(self) -> tuple[str, int]:
        """Where new connections are passed on to."""
        return self._target

    def apply(self, rules: Rules) -> None:
        """Put `rules` in force, for open connections too. Raises PortInUse when it cannot listen again."""
        self._proxy.call(self._apply(rules))

    def retarget(self, target: tuple[str, int]) -> None:
        """Pass new connections on to `target`; open ones stay."""
        self._target = target

    def cut(self) -> None:
        """Reset every open connection."""
        self._proxy.call(self._cut())

    def counters(self) -> ListenerCounters:
        """What happened so far."""
        return replace(self._counters, passed_bytes=dict(self._counters.passed_bytes))

    def close(self) -> None:
        """Stop listening and reset every connection."""
        self._proxy.call(self._close())
        self._proxy.forget(self)

    async def open(self) -> None:
        """Listen, unless the rules say to refuse. For the proxy's loop."""
        if self._rules.refuse or self._server is not None:
            return
        try:
            server = socket.create_server((self.host, self.port))
        except OSError as exc:
            raise PortInUse(f"{self.host}:{self.port}") from exc
        server.setblocking(False)
        self._server, self.port = server, int(server.getsockname()[1])
        # Not asyncio.start_server: closing it hangs a connection that is just being accepted (Python 3.11).
        asyncio.get_running_loop().add_reader(server, self._accept, server)

    async def _apply(self, rules: Rules) -> None:
        self._rules = rules
        self._changed.set()
        self._changed = asyncio.Event()
        if rules.refuse:
            self._stop_listening()
        else:
            await self.open()

    async def _cut(self) -> None:
        self._counters.cut += len(self._connections)
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _close(self) -> None:
        self._stop_listening()
        await self._cut()

    def _stop_listening(self) -> None:
        if self._server is not None:
            asyncio.get_running_loop().remove_reader(self._server)
            self._server.close()
            self._server = None

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):  # the client has gone again
            client, _ = server.accept()
            client.setblocking(False)
            connection = asyncio.create_task(self._serve(client))
            self._connections.add(connection)
            connection.add_done_callback(partial(self._served, client))
            self._counters.connections += 1

    def _served(self, client: socket.socket, connection: "asyncio.Task[None]") -> None:
        self._connections.discard(connection)
        if connection.cancelled():
            client.close()  # nothing else does when the task was cancelled before it had a stream

    async def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):  # one side is gone; leaving the contexts told the other
            async with (
                _closing(asyncio.open_connection(sock=client)) as (reader, writer),
                _closing(asyncio.open_connection(*self._target)) as (far_reader, far_writer),
            ):
                await _both(self._pump("up", reader, far_writer), self._pump("down", far_reader, writer))

    async def _pump(
        self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_IN_FLIGHT)
        await _both(self._receive(reader, queue), self._pass_on(direction, queue, writer))

    async def _receive(self, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        """Queue chunks with the time they are due, up to and with the empty one that ends the stream."""
        chunk, due = b"start", 0.0
        while chunk:
            chunk = await reader.read(_CHUNK)
            rules = self._rules
            # Drawn only where it matters, so that what is corrupted does not depend on how chunks come in.
            jitter_s = self._proxy.uniform(-rules.jitter_s, rules.jitter_s) if rules.jitter_s else 0.0
            due = max(due, asyncio.get_running_loop().time() + rules.delay_s + jitter_s)
            await queue.put((due, chunk))

    async def _pass_on(
        self, direction: Direction, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due, chunk = await queue.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            while direction in self._rules.stall:
                await self._changed.wait()
            if not chunk:
                writer.write_eof()
                return
            if self._rules.bytes_per_s:
                await asyncio.sleep(len(chunk) / self._rules.bytes_per_s)
            writer.write(self._perhaps_corrupt(chunk))
            await writer.drain()
            self._counters.passed_bytes[direction] += len(chunk)

    def _perhaps_corrupt(self, chunk: bytes) -> bytes:
        if not self._rules.corrupt or self._proxy.uniform(0, 1) >= self._rules.corrupt:
            return chunk
        self._counters.corrupted += 1
        begin = int(self._proxy.uniform(0, max(0, len(chunk) - _CORRUPTED)))
        flipped = bytes(byte ^ 0xFF for byte in chunk[begin : begin + _CORRUPTED])
        return chunk[:begin] + flipped + chunk[begin + _CORRUPTED :]


async def _both(*work: Coroutine[object, object, None]) -> None:
    """Wait for all; the first error ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except* OSError as errors:
        raise OSError(str(errors.exceptions)) from errors


@asynccontextmanager
async def _closing(opening: Coroutine[object, object, StreamPair]) -> AsyncIterator[StreamPair]:
    """A connection that is closed at the end, and reset when the end is an error."""
    reader, writer = await opening
    try:
        yield reader, writer
    except BaseException:
        # The peer gets a reset, and not what was still to be sent.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        writer.transport.abort()
        raise
    writer.close()
