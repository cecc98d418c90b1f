"""Wait until the indexes of all gateways have nothing left to learn, and judge them then."""

import random
import time
from collections.abc import Callable, Collection, Mapping

from kvsync.testing.clusters.cluster import Cluster
from kvsync.testing.clusters.endpoints import GatewayView, PodAdmin
from kvsync.testing.errors import WaitTimeout
from kvsync.testing.oracle.diagnosis import prompts
from kvsync.testing.oracle.snapshot import IndexState, Snapshot, keep, require
from kvsync.testing.oracle.tables import Comparison
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import History

CONVERGENCE_S = 30.0
"""The time within which an index must be right again after whatever happened."""
LOOKUPS = 12
"""Prompts looked up per comparison, chosen from all that pods hold."""


def unsettled(cluster: Cluster, pod_name: str | None = None) -> list[str]:
    """Say which publishers a gateway has not followed to the end, and how far it is; empty at rest.

    With `pod_name`, only that pod is looked at: enough, and quicker, when only it was asked something.
    """
    pods = [pod for pod in cluster.pods() if pod_name in (None, pod.name)]
    known = {pod.name for pod in pods} if pod_name is None else None
    published = {pod.name: PodAdmin(pod.admin_url).sequence() for pod in pods}
    return [line for url in cluster.gateways() for line in _behind(url, published, known)]


def _behind(gateway: str, published: Mapping[str, int], known: Collection[str] | None) -> list[str]:
    sources = {source.pod: source for source in GatewayView(gateway).sources()}
    surplus = sources.keys() - set(sources if known is None else known)
    lines = [f"{pod}: there is no such pod" for pod in surplus]
    for pod, last in published.items():
        source = sources.get(pod)
        if source is None:
            lines.append(f"{pod}: not followed")
        elif source.state != "exact" or (-1 if source.last is None else source.last) != last:
            lines.append(f"{source} of {last}")
    return lines


def settle(cluster: Cluster, pod_name: str | None = None, *, timeout_s: float = CONVERGENCE_S) -> None:
    """Wait until each gateway has followed every pod, or this one, to the end of what it published.

    Raises WaitTimeout.
    """
    seen: list[str] = []

    def settled() -> bool:
        seen[:] = unsettled(cluster, pod_name)
        return not seen

    wait_for(
        settled,
        what="the index has everything that the pods published",
        timeout_s=timeout_s,
        interval_s=0.01,  # an event takes milliseconds, and a replayed trace waits here for each request
        last_seen=lambda: "; ".join(seen),
    )


def compare_at_rest(
    cluster: Cluster,
    *,
    seed: int = 0,
    timeout_s: float = CONVERGENCE_S,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Comparison, Snapshot]:
    """Settle, read both sides and compare them; again when something happened in between.

    No requests may be sent meanwhile, but one that a fault held up in the network can still arrive. Also
    returns both sides; after `timeout_s` as they are then, with what had not settled.
    """
    deadline = clock() + timeout_s
    while True:
        problem: tuple[str, ...] = ()
        try:
            settle(cluster, timeout_s=max(0.0, deadline - clock()))
        except WaitTimeout as exc:
            problem = (str(exc),)
        snapshot = _read(cluster, seed, problem)
        if problem or not _moved(cluster, snapshot) or clock() > deadline:
            return snapshot.compared(cluster.announced()), snapshot


def _read(cluster: Cluster, seed: int, problem: tuple[str, ...]) -> Snapshot:
    tables = [PodAdmin(pod.admin_url).table() for pod in cluster.pods()]
    asked = prompts(tables, random.Random(seed), LOOKUPS)  # noqa: S311 - no secret
    indexes = [
        IndexState(
            gateway=url,
            dumps=view.dumps(),
            indexed=view.indexed(),
            lookups=[view.lookup(prompt) for prompt in asked],
        )
        for url in cluster.gateways()
        for view in [GatewayView(url)]
    ]
    return Snapshot(tables=tables, indexes=indexes, unsettled=problem)


def _moved(cluster: Cluster, snapshot: Snapshot) -> bool:
    """Whether pods published, came or went, or a gateway lost one, since or while both sides were read."""
    published = {pod.name: PodAdmin(pod.admin_url).sequence() for pod in cluster.pods()}
    read = [{table.pod: table.seq for table in snapshot.tables}]
    read += [
        {dump.pod: -1 if dump.last is None else dump.last for dump in each.dumps} for each in snapshot.indexes
    ]
    return any(each != published for each in read) or bool(unsettled(cluster))


def verify(
    cluster: Cluster,
    history: History,
    *,
    seed: int = 0,
    timeout_s: float = CONVERGENCE_S,
    at_least: int = 1,
) -> Comparison:
    """Compare the index with the pods at rest, and fail when anything is wrong.

    The comparison is recorded with both of its sides, so that it can be made again. Raises Violated with
    every kind of violation and its probable cause, and Inconclusive when the pods hold fewer than `at_least`
    blocks.
    """
    comparison, snapshot = compare_at_rest(cluster, seed=seed, timeout_s=timeout_s)
    wrong = snapshot.wrong(comparison)
    history.append(
        f="oracle",
        type="fail" if wrong else "ok",
        pods=comparison.pods,
        blocks=comparison.blocks,
        lookups=comparison.lookups,
        violations=wrong,
        at_least=at_least,
        kept=keep(snapshot, history.path.parent),
    )
    require(wrong, comparison, at_least=at_least)
    return comparison
