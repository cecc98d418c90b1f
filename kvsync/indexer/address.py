"""The local socket at which an indexer answers: a file, or on Linux a name that needs none.

Who may connect to a file, its permissions say; a name is open to every user of the machine, so each end asks
the kernel for the other's user.
"""

import asyncio
import errno
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

from kvsync.errors import ConfigError, IndexerError

BACKLOG = 128

WITHOUT_FILE = "@"
"""What such a name begins with; the kernel has a zero byte there."""

_CREDENTIALS = struct.Struct("3i")


def place_of(address: str) -> str:
    """Return an address as the kernel wants it."""
    return f"\0{address[1:]}" if address.startswith(WITHOUT_FILE) else address


def listen(address: str) -> socket.socket:
    """Listen at an address; a socket's file at which nobody listens is replaced. Raises ConfigError."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        if not address.startswith(WITHOUT_FILE):
            _clear(Path(address))
        listener.bind(place_of(address))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        taken = (
            "another indexer listens there" if error.errno == errno.EADDRINUSE else error.strerror or error
        )
        mend = "choose another path or name (indexer.socket, --socket)"
        raise ConfigError("indexer", [f"cannot listen at {address}: {taken}: {mend}"]) from error
    return listener


def check(address: str) -> None:
    """Raise ConfigError for an address at which nobody could listen."""
    listen(address).close()
    remove(address)


async def connect(address: str) -> socket.socket:
    """Connect to an address. Raises IndexerError."""
    # uvloop takes the zero byte of a name for its end, so the socket is connected here.
    peer = socket.socket(socket.AF_UNIX)
    try:
        peer.setblocking(False)
        await asyncio.get_running_loop().sock_connect(peer, place_of(address))
        check_user(peer, address)
    except OSError as error:
        peer.close()
        raise IndexerError(f"{address}: {error.strerror or error}") from error
    except (IndexerError, asyncio.CancelledError):
        peer.close()
        raise
    return peer


def remove(address: str) -> None:
    """Remove the file of an address, if it has one."""
    if not address.startswith(WITHOUT_FILE):
        with suppress(OSError):
            Path(address).unlink(missing_ok=True)


def check_user(peer: socket.socket, address: str) -> None:
    """Raise IndexerError if another user is at the other end of a connection that anybody can make."""
    if not address.startswith(WITHOUT_FILE):
        return
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        raise IndexerError("only Linux tells who is at the other end: give indexer.socket a path")
    _, user, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    if user != os.getuid():
        raise IndexerError(f"user {user} is at the other end of {address}, not user {os.getuid()}")


def _clear(path: Path) -> None:
    """Remove what a process left that was killed; raises OSError if one listens, or for no socket."""
    if path.exists() and not path.is_socket():
        raise OSError(errno.ENOTSOCK, "it is there already and no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, "in use")
