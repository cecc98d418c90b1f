"""Workers of one gateway: processes that share its port, and answer for one another where they are counted.

A scrape reaches any of them. That one asks the others for what they counted, and shows all of it, each
sample with the number of its worker. What is known of sources is the same for all, and shown once.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from kvsync.errors import IndexerError
from kvsync.indexer.address import connect, listen
from kvsync.sequence import Counters

ANSWER_S = 1.0
"""How long a scrape waits for the others; one that is late is left out, and `kvsync_workers` shows it."""

OF_ALL = (
    *("kvsync_source_", "kvsync_index_", "kvsync_events", "kvsync_snapshots", "kvsync_build"),
    *(f"kvsync_{each.name}" for each in fields(Counters)),
    "aibrix_kvcache_zmq",
)
"""How the names of metrics begin that are the same for all workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One of several processes of a gateway, counted from 1; `family` names all of them, `files` are the
    sockets that they listen at."""

    number: int = 1
    of: int = 1
    family: str = ""
    files: tuple[int, ...] = ()

    def address(self, number: int) -> str:
        """Return where a worker tells what it counted."""
        return f"{self.family}-{number}"

    def written(self) -> bytes:
        """Write it as a line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> "Worker":
        """Read what `written` wrote."""
        each = json.loads(line)
        return cls(**{**each, "files": tuple(each["files"])})


ALONE = Worker()
"""A gateway of one process."""


class Siblings:
    """The other workers. Tells them `page`, this one's metrics, while `run` runs."""

    def __init__(self, worker: Worker, page: Callable[[], bytes]) -> None:
        self._worker = worker
        self._page = page

    async def run(self) -> None:
        """Answer them until cancelled."""
        if self._worker.of == 1:
            return
        listener = listen(self._worker.address(self._worker.number))
        async with await asyncio.start_unix_server(self._tell, sock=listener) as server:
            await server.serve_forever()

    async def metrics(self) -> bytes:
        """Return the metrics of all workers."""
        own, worker = self._page(), self._worker
        if worker.of == 1:
            return own
        others = [number for number in range(1, worker.of + 1) if number != worker.number]
        told = await asyncio.gather(*map(self._ask, others))
        pages = {worker.number: own} | {n: page for n, page in zip(others, told, strict=True) if page}
        return merged(pages, worker.number)

    async def _tell(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._page())
        writer.close()

    async def _ask(self, number: int) -> bytes:
        try:
            async with asyncio.timeout(ANSWER_S):
                peer = await connect(self._worker.address(number))
                reader, writer = await asyncio.open_unix_connection(sock=peer)
                try:
                    return await reader.read()
                finally:
                    writer.close()
        except (IndexerError, OSError, TimeoutError):
            return b""


def merged(pages: Mapping[int, bytes], own: int) -> bytes:
    """Put the pages of workers together, by number; what is the same for all is that of `own`."""
    families: dict[str, Metric] = {}
    for number, page in sorted(pages.items()):
        for family in text_string_to_metric_families(page.decode()):
            is_of_all = family.name.startswith(OF_ALL)
            if is_of_all and number != own:
                continue
            label = {} if is_of_all else {"worker": str(number)}
            whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            whole.samples += [each._replace(labels={**each.labels, **label}) for each in family.samples]
    return generate_latest(_Page(families.values()))


class _Page:
    """What `generate_latest` takes for a registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Give all of it."""
        return self._families
