"""Wait until the indexes of all gateways have nothing left to learn, and judge them then."""

import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from kvsync.errors import WaitTimeout
from kvsync.testing.cluster import Cluster
from kvsync.testing.endpoints import GatewayView, PodAdmin
from kvsync.testing.history import History
from kvsync.testing.oracle import BlockTable, Comparison, IndexDump, compare, prompts
from kvsync.testing.verdicts import Inconclusive, Violated
from kvsync.testing.wait import wait_for

CONVERGENCE_S = 30.0
"""The time within which an index must be right again after whatever happened."""
LOOKUPS = 12
"""Prompts looked up per comparison, chosen from all that pods hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexState:
    """What one gateway's index holds."""

    gateway: str
    dumps: Sequence[IndexDump]
    indexed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Pods and indexes at one moment in which nothing happened, as far as that moment came."""

    tables: Sequence[BlockTable]
    indexes: Sequence[IndexState]
    unsettled: Sequence[str] = ()


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


def quiesce(
    cluster: Cluster, *, timeout_s: float = CONVERGENCE_S, clock: Callable[[], float] = time.monotonic
) -> Rest:
    """Settle and read both sides, again when something happened in between; no requests may be running.

    After `timeout_s` both sides are returned as they are, with what had not settled.
    """
    deadline = clock() + timeout_s
    while True:
        problem: tuple[str, ...] = ()
        try:
            settle(cluster, timeout_s=max(0.0, deadline - clock()))
        except WaitTimeout as exc:
            problem = (str(exc),)
        tables = [PodAdmin(pod.admin_url).table() for pod in cluster.pods()]
        indexes = [
            IndexState(gateway=url, dumps=view.dumps(), indexed=view.indexed())
            for url in cluster.gateways()
            for view in [GatewayView(url)]
        ]
        if problem or not unsettled(cluster) or clock() > deadline:
            return Rest(tables=tables, indexes=indexes, unsettled=problem)


def compare_at_rest(
    cluster: Cluster, *, seed: int = 0, timeout_s: float = CONVERGENCE_S
) -> tuple[Comparison, Sequence[str]]:
    """Compare indexes with the pods at rest, or after `timeout_s` as they are; say what is unsettled."""
    rest = quiesce(cluster, timeout_s=timeout_s)
    asked = prompts(rest.tables, random.Random(seed), LOOKUPS)  # noqa: S311 - no secret
    announced = cluster.announced()
    found = []
    for index in rest.indexes:
        lookups = [GatewayView(index.gateway).lookup(prompt) for prompt in asked]
        found.append(compare(rest.tables, index.dumps, announced, lookups, indexed=index.indexed))
    violations = tuple(violation for comparison in found for violation in comparison.violations)
    return replace(found[0], violations=violations), rest.unsettled


def verify(
    cluster: Cluster,
    history: History,
    *,
    seed: int = 0,
    timeout_s: float = CONVERGENCE_S,
    at_least: int = 1,
) -> Comparison:
    """Compare the index with the pods at rest, record the comparison, and fail when anything is wrong.

    Raises Violated with every kind of violation and its probable cause, and Inconclusive when the
    pods hold fewer than `at_least` blocks, for then nothing was proved.
    """
    comparison, waiting = compare_at_rest(cluster, seed=seed, timeout_s=timeout_s)
    wrong = [*(str(comparison).splitlines() if comparison.violations else ()), *waiting]
    history.append(
        f="oracle",
        type="fail" if wrong else "ok",
        pods=comparison.pods,
        blocks=comparison.blocks,
        lookups=comparison.lookups,
        violations=wrong,
    )
    if wrong:
        raise Violated("the index is wrong: " + "\n".join(wrong))
    if comparison.blocks < at_least:
        raise Inconclusive(f"the pods hold {comparison.blocks} blocks, which proves nothing")
    return comparison
