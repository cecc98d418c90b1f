"""What listens at an endpoint that does not work, so that a wrong setting is named and not guessed.

libzmq reports that a handshake failed, not with whom (4.3.5: a PUB where a ROUTER was expected looks like a
lost connection, an HTTP server like a silent peer). A peer that speaks ZMTP 3 begins with a greeting of 64
bytes and then says of which kind its socket is; an HTTP server answers a request.
"""

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

PATIENCE_S = 1.0

_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
"""Ours: signature, version 3.0, no security, a client (ZMTP 3.0, RFC 23)."""

_READY_BYTES = 512
"""A READY command names the kind of socket within its first few bytes."""


class Speaks(Enum):
    """What a peer understands."""

    NOTHING = "nothing"
    ZMTP = "zmtp"
    HTTP = "http"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Peer:
    """What listens at an endpoint.

    `detail` is the kind of socket for ZMTP (empty: it did not say, or needs credentials), why there is
    nothing, or the first bytes of what is not known.
    """

    speaks: Speaks
    detail: str = ""


async def look(endpoint: str, patience_s: float = PATIENCE_S) -> Peer | None:
    """Say what listens at `tcp://host:port`; None for another kind of endpoint.

    A peer may take `patience_s` to accept a connection, and to say something.
    """
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    if not endpoint.startswith("tcp://") or not port.isdecimal():
        return None
    where = host.strip("[]"), int(port)
    try:
        said = await _said(where, _GREETING, 64 + _READY_BYTES, patience_s)
        if not said:
            said = await _said(where, b"GET / HTTP/1.0\r\n\r\n", 16, patience_s)
    except TimeoutError:
        return Peer(Speaks.NOTHING, "accepts no connection")
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        return Peer(Speaks.NOTHING, f"cannot be resolved ({error})")
    except OSError as error:
        return Peer(Speaks.NOTHING, f"is closed ({os.strerror(error.errno) if error.errno else error})")
    return read(said)


def read(said: bytes) -> Peer:
    """Tell by its first bytes what a peer speaks."""
    if not said:
        return Peer(Speaks.NOTHING, "accepts connections and says nothing")
    if said.startswith(b"HTTP/"):
        return Peer(Speaks.HTTP)
    if said[0] == 0xFF:
        return Peer(Speaks.ZMTP, _kind(said[64:]))
    return Peer(Speaks.UNKNOWN, repr(said[:16]))


def problem(endpoint: str, peer: Peer | None, *, replays: bool) -> str:
    """Say why a peer is not the publisher's live events, or its replays, and what to do; empty: it may be."""
    wanted, other, field = ("ROUTER", "PUB", "replay_endpoint") if replays else ("PUB", "ROUTER", "endpoint")
    setting = f"give the port of `{field}` in the engine's --kv-events-config"
    match peer:
        case Peer(Speaks.NOTHING, detail):
            return (
                f"{endpoint} {detail}: is the engine up, and `{field}` in its --kv-events-config this port?"
            )
        case Peer(Speaks.HTTP):
            return f"{endpoint} speaks HTTP: {setting}"
        case Peer(Speaks.UNKNOWN, said):
            return f"{endpoint} does not speak ZeroMQ but begins with {said}: {setting}"
        case Peer(Speaks.ZMTP, kind) if kind and kind not in (wanted, f"X{wanted}"):
            exchanged = " (are the two ports exchanged?)" if kind in (other, f"X{other}") else ""
            return f"{endpoint} is a {kind}, not a {wanted}: {setting}{exchanged}"
    return ""


async def _said(where: tuple[str, int], ours: bytes, most: int, patience_s: float) -> bytes:
    """Say `ours` and return what came back until the peer fell silent. Raises OSError, TimeoutError."""
    async with asyncio.timeout(patience_s):
        reader, writer = await asyncio.open_connection(*where)
    said = b""
    try:
        with suppress(TimeoutError, ConnectionError):
            writer.write(ours)
            async with asyncio.timeout(patience_s):
                while len(said) < most and _is_more(said) and (more := await reader.read(most)):
                    said += more
    finally:
        writer.close()
    return said


def _is_more(said: bytes) -> bool:
    """Whether a peer is still saying what it is."""
    return not said or (said[0] == 0xFF and not _kind(said[64:]))


def _kind(said: bytes) -> str:
    """Return the kind of socket that a READY command names, empty without one."""
    name = b"\x0bSocket-Type"
    _, found, value = said.partition(name)
    length = int.from_bytes(value[:4], "big")
    kind = value[4 : 4 + length]
    return kind.decode("ascii", "replace") if found and 0 < length == len(kind) < len(said) else ""
