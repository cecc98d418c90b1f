"""What a service says at an address, in words, and how long that takes; by sockets, whatever its protocol."""

import socket
import time
from dataclasses import dataclass

from kvsync.testing.faults.effects import ANSWERED, REFUSED, SILENCE_S, SILENT


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of one request: ANSWERED, SILENT, REFUSED or something else, after so many seconds."""

    words: str
    took_s: float


def ask(address: tuple[str, int], hello: bytes, timeout_s: float = SILENCE_S) -> Heard:
    """Connect, say `hello`, and wait for the first byte of an answer.

    Without a hello our end of the connection is closed, and the answer is that the other end is, too: most
    servers do that, also those that speak only when they are spoken to.
    """
    began = time.monotonic()
    words = _words(address, hello, timeout_s)
    return Heard(words, time.monotonic() - began)


def _words(address: tuple[str, int], hello: bytes, timeout_s: float) -> str:
    try:
        with socket.create_connection(address, timeout_s) as connection:
            if hello:
                connection.sendall(hello)
            else:
                connection.shutdown(socket.SHUT_WR)
            return ANSWERED if connection.recv(1) or not hello else "broken off"
    except TimeoutError:
        return SILENT
    except ConnectionRefusedError:
        return REFUSED
    except OSError as exc:
        return f"broken off ({type(exc).__name__})"


def accepts(address: tuple[str, int]) -> bool:
    """Say whether a connection is accepted."""
    try:
        socket.create_connection(address, SILENCE_S).close()
    except OSError:
        return False
    return True
