"""What a cluster looked like when a test in it did not pass: written to files, each for itself.

Evidence never hides the error that it is about: a part that cannot be had says why in its own file. The parts
come in groups that are read side by side, so that one which hangs keeps none of another group away.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from itertools import count, islice
from pathlib import Path
from threading import Event
from typing import Protocol, runtime_checkable

import httpx

from kvsync.testing.clusters.cluster import GATEWAY, Cluster
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES

TIMEOUT_S = 5.0
"""For what a gateway or an engine says: one that hangs may be just what went wrong."""
WITHIN_S = 90.0
"""For all of it."""
INTERRUPTED_S = 8.0
"""For all of it when the tests are being ended: what is quick to read."""
MOST_PODS = 12
"""Pods whose blocks and logs are kept; of a hundred, more say nothing new."""
NOT_READ = "(not read in time)"

Part = Callable[[], str]
"""Reads one part of the evidence."""
Group = Iterable[tuple[str, Part]]
"""Parts that are read one after the other, each with the name of its file."""


@runtime_checkable
class Witness(Protocol):
    """A cluster that has more to say than any cluster does."""

    def evidence(self) -> Mapping[str, Group]:
        """Return groups of parts by their names; a group may raise while it is iterated."""


def new_folder(folder: Path) -> Path:
    """Make a folder of this name, or with a number after it when there was evidence of that name before."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    made = folder if not folder.exists() else next(each for each in numbered if not each.exists())
    made.mkdir(parents=True)
    return made


def collect(cluster: Cluster, folder: Path, within_s: float = WITHIN_S) -> None:
    """Write down in a folder what the cluster looks like now; raises nothing of the cluster's.

    What is not read after `within_s` says so in its file.
    """
    groups: dict[str, Group] = {"gateways": _of_gateways(cluster), "engines": _of_engines(cluster)}
    if isinstance(cluster, Witness):
        groups = {**cluster.evidence(), **groups}
    over, pool = Event(), ThreadPoolExecutor(len(groups))
    try:
        wait([pool.submit(_write, folder, *group, over) for group in groups.items()], within_s)
    finally:
        over.set()
        pool.shutdown(wait=False, cancel_futures=True)


def read_url(url: str) -> str:
    """Return what is at a URL."""
    return httpx.get(url, timeout=TIMEOUT_S, verify=NO_CERTIFICATES, trust_env=False).text


def _of_gateways(cluster: Cluster) -> Iterator[tuple[str, Part]]:
    yield "gateway.log", partial(cluster.logs, GATEWAY)
    for number, url in enumerate(cluster.gateways()):
        yield f"gateway-{number}-status.json", partial(read_url, f"{url}/status")
        yield f"gateway-{number}-index.json", partial(read_url, f"{url}/index/dump")


def _of_engines(cluster: Cluster) -> Iterator[tuple[str, Part]]:
    for pod in islice(cluster.pods(), MOST_PODS):
        yield f"{pod.name}.log", partial(cluster.logs, pod.name)
        yield f"{pod.name}-blocks.json", partial(read_url, f"{pod.admin_url}/blocks")


def _write(folder: Path, name: str, group: Group, over: Event) -> None:
    def save(file: str, text: str) -> None:
        (folder / file).write_text(text, encoding="utf-8", errors="replace")

    def parts() -> Iterator[tuple[str, Part]]:
        try:
            yield from group
        except Exception as exc:
            yield f"{name}.txt", partial(_problem, exc)

    for file, part in parts():
        if over.is_set():
            return
        if not (folder / file).exists():
            save(file, NOT_READ)
            save(file, _read(part))


def _read(part: Part) -> str:
    try:
        return part()
    except Exception as exc:  # including an answer that cannot be understood
        return _problem(exc)


def _problem(error: Exception) -> str:
    return f"(could not be read: {type(error).__name__}: {error})"
