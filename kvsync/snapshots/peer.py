"""Snapshots from a gateway that runs: it gives them one after the other, each of its own moment."""

from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus

from kvsync.access.peers import PeerClient, PeerError
from kvsync.errors import SnapshotError
from kvsync.snapshots.coding import HEADER_BYTES, read_body, read_header
from kvsync.snapshots.snapshot import SourceSnapshot

PATH = "/index/snapshots"

MEDIA_TYPE = "application/vnd.kvsync.snapshots"

_HINTS = {401: ": snapshots.take_key is not one of its keys", 404: ": with access.admin, ask at that port"}


class Parts:
    """Cuts a stream of bytes into snapshots."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[SourceSnapshot]:
        """Return the snapshots that this chunk completes. Raises SnapshotError for what is none."""
        self._rest += chunk
        found = []
        while len(self._rest) >= HEADER_BYTES:
            header = read_header(bytes(self._rest[:HEADER_BYTES]))
            end = HEADER_BYTES + header.length
            if len(self._rest) < end:
                break
            found.append(read_body(header, bytes(self._rest[HEADER_BYTES:end])))
            del self._rest[:end]
        return found

    def end(self) -> None:
        """Take note of the end. Raises SnapshotError when it cuts a snapshot off."""
        if self._rest:
            raise SnapshotError(f"it ends with {len(self._rest)} bytes of a snapshot that was cut off")


async def take(client: PeerClient, url: str, credentials: Mapping[str, str]) -> AsyncIterator[SourceSnapshot]:
    """Ask a gateway for its snapshots, one after the other. Raises SnapshotError when that ends early."""
    parts, address = Parts(), url.rstrip("/") + PATH
    try:
        pairs = [(name.encode(), value.encode()) for name, value in credentials.items()]
        async with await client.begin("GET", address, headers=pairs) as answer:
            if answer.status != HTTPStatus.OK:
                raise SnapshotError(f"status {answer.status}{_HINTS.get(answer.status, '')}")
            async for chunk in answer:
                for snapshot in parts.feed(chunk):
                    yield snapshot
        parts.end()
    except (PeerError, SnapshotError) as error:
        raise SnapshotError(f"{address}: {type(error).__name__}: {error}") from error
