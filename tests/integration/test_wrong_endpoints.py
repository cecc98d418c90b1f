"""Endpoints that are not what the settings say: state, reason and log name what is there instead."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Protocol

import pytest
import zmq

from kvsync.publisher import Publisher
from kvsync.sequence import State
from kvsync.sources.peer import Peer, Speaks, look, read
from kvsync.testing.clusters.local.fault_proxy import SILENT, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Background, Eventually, Follow, Publish, Recorder

ANY_PORT = "tcp://127.0.0.1:*"
CLOSED = "tcp://127.0.0.1:9"


class Listen(Protocol):
    """Puts something to listen on a port of its own."""

    def __call__(self, what: str) -> str:
        """Give the endpoint."""


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Servers that end with the test: http, silent, closed, or a kind of ZeroMQ socket."""
    with ExitStack() as stack:

        def listen(what: str) -> str:
            if what == "http":
                server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
                stack.callback(server.server_close)
                stack.callback(server.shutdown)
                threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
                return f"tcp://127.0.0.1:{server.server_port}"
            if what == "silent":
                quiet = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                return f"tcp://127.0.0.1:{quiet.getsockname()[1]}"
            if what == "closed":
                return CLOSED
            context = stack.enter_context(zmq.Context())
            peer = stack.enter_context(context.socket(getattr(zmq, what)))
            peer.linger = 0
            return f"tcp://127.0.0.1:{peer.bind_to_random_port('tcp://127.0.0.1')}"

        yield listen


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("http", "speaks HTTP: give the port of `endpoint`"),
        ("ROUTER", "is a ROUTER, not a PUB: give the port of `endpoint`"),
        ("REP", "is a REP, not a PUB"),
        ("silent", "accepts connections and says nothing: is the engine up"),
        ("closed", "is closed (Connection refused): is the engine up"),
    ],
)
async def test_what_listens_instead_of_a_publisher_is_named(
    follow: Follow,
    listen: Listen,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
    what: str,
    said: str,
) -> None:
    """The source is BLIND for a reason that names the endpoint and what is there, logged once."""
    endpoint = listen(what)
    subscriber = follow(endpoint, None, heartbeat_s=0.3)
    await eventually(lambda: f"{endpoint} {said}" in subscriber.status.reason)
    await eventually(lambda: caplog.messages)

    assert (subscriber.state, subscriber.status.endpoint) == (State.BLIND, endpoint)
    assert [f"pod rank 0 at {endpoint} (replays: none): blind" in line for line in caplog.messages] == [True]
    assert said in caplog.messages[0]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("http", "speaks HTTP: give the port of `replay_endpoint`"),
        ("PUB", "is a PUB, not a ROUTER: give the port of `replay_endpoint`"),
        ("closed", "is closed (Connection refused): is the engine up"),
    ],
)
async def test_what_listens_instead_of_replays_is_named(
    follow: Follow, listen: Listen, eventually: Eventually, what: str, said: str
) -> None:
    """While history is on its way, the reason says why it does not come."""
    endpoint = listen(what)
    async with Publisher(endpoint=ANY_PORT) as publisher:
        subscriber = follow(publisher.endpoint, endpoint, heartbeat_s=0.3, replay_idle_timeout_s=1)
        await eventually(lambda: f"{endpoint} {said}" in subscriber.status.reason)


async def test_an_address_of_replays_that_is_none_is_named(follow: Follow, eventually: Eventually) -> None:
    """What no socket can connect to at all: the source follows live events and says why it has no history."""
    async with Publisher(endpoint=ANY_PORT) as publisher:
        subscriber = follow(publisher.endpoint, "tcp://127.0.0.1:port")
        await eventually(lambda: "cannot connect to tcp://127.0.0.1:port" in subscriber.status.reason)

        assert subscriber.state is State.DEGRADED


async def test_each_change_of_state_is_a_line(
    follow: Follow, listen: Listen, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """From the first connection to its end: the state, the one before, both endpoints and the cause."""
    caplog.set_level(logging.INFO, "kvsync.sources.journal")
    replays = listen("PUB")
    async with Publisher(endpoint=ANY_PORT) as publisher:
        subscriber = follow(publisher.endpoint, replays, replay_idle_timeout_s=5)
        await eventually(lambda: subscriber.state is State.DEGRADED)
        subscriber.doubt("a test", "because it says so")
        subscriber.doubt("a test", "because it says so")
    await eventually(lambda: "is closed" in subscriber.status.reason)
    await eventually(lambda: len(caplog.messages) == 5)

    where = f"pod rank 0 at {publisher.endpoint} (replays: {replays}): "
    unknown = f"history is unknown: {replays} is a PUB, not a ROUTER: "
    first, named, second, third, fourth = (line.removeprefix(where) for line in caplog.messages)
    assert first == "catching_up, was blind: connected, history is on its way"
    assert named.startswith(f"catching_up: connected, history is on its way; {replays} is a PUB")
    assert second.startswith(f"degraded, was catching_up: {unknown}")
    assert third.startswith(f"degraded: {unknown}")
    assert third.endswith("; because it says so")
    assert fourth.startswith(f"blind, was degraded: {publisher.endpoint} is closed")
    assert [record.levelname for record in caplog.records] == ["INFO", *["WARNING"] * 4]


async def test_a_lost_connection_is_a_line_with_its_cause(
    follow: Follow, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is said before it is known what is wrong, whatever else has news meanwhile."""
    async with Publisher(endpoint=ANY_PORT) as publisher:
        with FaultProxy() as proxy:
            target = ("127.0.0.1", int(publisher.endpoint.rpartition(":")[2]))
            listener = proxy.listen("127.0.0.1", 0, target)
            subscriber = follow(f"tcp://127.0.0.1:{listener.port}", None, heartbeat_s=0.2)
            await eventually(lambda: subscriber.state is State.DEGRADED)
            listener.apply(SILENT)
            await eventually(lambda: subscriber.state is State.BLIND)
            subscriber.doubt("a test", "because it says so")
            await eventually(lambda: "says nothing" in subscriber.status.reason)

    blind = [line for line in caplog.messages if "): blind" in line]
    assert len(blind) == 1
    assert "accepts connections and says nothing" in blind[0]


async def test_replays_of_another_engine_are_named(
    background: Background, follow: Follow, recorder: Recorder, publish: Publish, eventually: Eventually
) -> None:
    """One engine's events and another's replays: the source says so, and holds what came live."""
    engine, other = (Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) for _ in range(2))
    async with engine, other:
        background(other.serve())
        publish(other, *range(1000, 1100))
        subscriber = follow(engine.endpoint, other.replay_endpoint)
        await eventually(lambda: recorder.log == list(range(1000, 1100)))

        def is_named() -> bool:
            publish(engine, engine.next_sequence)
            return "answers for another publisher" in subscriber.status.reason

        await eventually(is_named)
        last = engine.next_sequence - 1
        await eventually(lambda: recorder.log[-1] == last)

        assert subscriber.state is State.DEGRADED
        held = recorder.log[len(recorder.log) - recorder.log[::-1].index("forgotten") :]
        assert held == list(range(last - len(held) + 1, last + 1))


@pytest.mark.parametrize(
    ("endpoint", "peer"),
    [
        ("ipc:///nowhere", None),
        ("tcp://127.0.0.1:port", None),
        (CLOSED, Peer(Speaks.NOTHING, "is closed (Connection refused)")),
    ],
)
async def test_a_look_at_an_endpoint(endpoint: str, peer: Peer | None) -> None:
    """Only a TCP endpoint is looked at."""
    assert await look(endpoint) == peer


@pytest.mark.parametrize(
    ("said", "peer"),
    [
        (b"", Peer(Speaks.NOTHING, "accepts connections and says nothing")),
        (b"HTTP/1.1 400 Bad", Peer(Speaks.HTTP)),
        (b"SSH-2.0-OpenSSH_9.6", Peer(Speaks.UNKNOWN, "b'SSH-2.0-OpenSSH_'")),
        (b"\xff", Peer(Speaks.ZMTP)),
        (
            b"\xff" + bytes(63) + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB",
            Peer(Speaks.ZMTP, "PUB"),
        ),
        (b"\xff" + bytes(63) + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03PU", Peer(Speaks.ZMTP)),
        (b"\xff" + bytes(63) + b"\x0bSocket-Type\xff\xff\xff\xffPUB", Peer(Speaks.ZMTP)),
    ],
    ids=["nothing", "HTTP", "SSH", "signature", "READY", "cut short", "boasting"],
)
def test_a_peer_is_told_by_its_first_bytes(said: bytes, peer: Peer) -> None:
    """What cannot be told is not guessed."""
    assert read(said) == peer
