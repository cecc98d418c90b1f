"""Passes each connection on to one of several replicas, and to the next one when that ends.

On Kubernetes an ingress does this; here it lets one replica be killed while another one answers. What was not
answered yet is sent again, as all requests of the load can be: to register twice is to register once.
"""

import argparse
import asyncio
import contextlib
import itertools
import sys
from urllib.parse import urlsplit

CONNECT_S = 1.0
PART = 65_536

Address = tuple[str, int]


class Passage:
    """One client's connection, and the one to a replica that answers it now."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, addresses: list[Address]
    ) -> None:
        self._reader, self._writer = reader, writer
        self._addresses = addresses
        self._unanswered = bytearray()
        self._forth: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """Pass on until the client ends, or no replica accepts a connection."""
        try:
            await self._connect()
            async with asyncio.TaskGroup() as group:
                answers = group.create_task(self._answers())
                await self._requests()
                answers.cancel()
        except* OSError:
            pass
        finally:
            self._writer.close()
            if self._forth:
                self._forth.close()

    async def _connect(self) -> None:
        """Connect to the next replica that accepts it. Raises OSError if none does."""
        for _ in self._addresses:
            host, port = self._addresses[0]
            self._addresses = [*self._addresses[1:], (host, port)]
            with contextlib.suppress(OSError):
                async with asyncio.timeout(CONNECT_S):
                    self._back, self._forth = await asyncio.open_connection(host, port)
                    return
        raise OSError("no replica accepts connections")

    async def _requests(self) -> None:
        while part := await self._reader.read(PART):
            self._unanswered += part
            if self._forth:
                self._forth.write(part)

    async def _answers(self) -> None:
        while True:
            part = b""
            with contextlib.suppress(OSError):
                part = await self._back.read(PART)
            if part:
                self._unanswered.clear()
                self._writer.write(part)
                continue
            replaced = self._forth
            await self._connect()
            if replaced:
                replaced.close()
            if self._unanswered and self._forth:
                self._forth.write(bytes(self._unanswered))


async def serve(host: str, port: int, addresses: list[Address]) -> None:
    """Listen until cancelled."""
    turns = itertools.count()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = next(turns) % len(addresses)
        await Passage(reader, writer, addresses[first:] + addresses[:first]).run()

    async with await asyncio.start_server(accept, host, port) as server:
        await server.serve_forever()


def main() -> int:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("replicas", nargs="+", help="their addresses, such as http://127.0.0.1:8081")
    given = parser.parse_args()
    parts = [urlsplit(replica) for replica in given.replicas]
    addresses = [(str(part.hostname), int(part.port or 80)) for part in parts]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(given.host, given.port, addresses))
    return 0


if __name__ == "__main__":
    sys.exit(main())
