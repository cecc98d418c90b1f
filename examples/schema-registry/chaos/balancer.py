"""Passes connections on to one of several replicas, the next one each time; those that refuse are left out.

On Kubernetes a Service does this; here it lets one replica be killed while another one answers.
"""

import argparse
import asyncio
import contextlib
import itertools
import sys
from urllib.parse import urlsplit

CONNECT_S = 1.0
PART = 65_536


async def connected(addresses: list[tuple[str, int]]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connection to the first of these that accepts one. Raises OSError if none does."""
    for host, port in addresses:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(CONNECT_S):
                return await asyncio.open_connection(host, port)
    raise OSError("no replica accepts connections")


async def passed_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy until the source ends; then the sink is told so."""
    with contextlib.suppress(OSError):
        while part := await source.read(PART):
            sink.write(part)
            await sink.drain()
    with contextlib.suppress(OSError):
        sink.close()


async def serve(host: str, port: int, replicas: list[str]) -> None:
    """Listen until cancelled."""
    addresses = [(str(parts.hostname), int(parts.port or 80)) for parts in map(urlsplit, replicas)]
    turns = itertools.count()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = next(turns) % len(addresses)
        try:
            back, forth = await connected(addresses[first:] + addresses[:first])
        except OSError:
            writer.close()
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(passed_on(reader, forth))
            group.create_task(passed_on(back, writer))

    async with await asyncio.start_server(accept, host, port) as server:
        await server.serve_forever()


def main() -> int:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("replicas", nargs="+")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(given.host, given.port, given.replicas))
    return 0


if __name__ == "__main__":
    sys.exit(main())
