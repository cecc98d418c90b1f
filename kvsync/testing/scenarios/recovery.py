"""When a cluster has recovered from a fault: at the first of five probes in a row that find nothing wrong.

A probe finds nothing wrong when one request succeeds, every gateway uses every pod, and every gateway has
everything that pods had published a moment before. Requests may be running; the index is compared with the
pods afterwards, at rest.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from kvsync.testing.clusters.endpoints import GatewayView, PodAdmin, SourceView
from kvsync.testing.errors import ClusterError, WaitTimeout
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import History
from kvsync.testing.scenarios.scenario import Scenario
from kvsync.testing.traffic.sender import Answer

PROBES = 5
"""How many in a row must find nothing wrong."""
GOAL_S = 30.0
"""How long a recovery may take."""
LIMIT_S = 120.0
"""How long to wait for one, so that a report says by how much the goal was missed."""


def await_recovery(
    probe: Callable[[], str],
    since: float,
    history: History,
    *,
    limit_s: float = LIMIT_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """Return the seconds from `since` to the first of PROBES probes in a row that say "", and record them.

    Raises WaitTimeout with what the last probe said.
    """
    well: list[float] = []
    problem = ""

    def recovered() -> bool:
        nonlocal problem
        began = clock()
        problem = probe()
        well[:] = [] if problem else [*well, began]
        return len(well) == PROBES

    try:
        wait_for(
            recovered,
            what=f"{PROBES} probes in a row find nothing wrong",
            timeout_s=limit_s,
            last_seen=lambda: problem,
            clock=clock,
            sleep=sleep,
        )
    except WaitTimeout:
        history.append(f="recovery", type="fail", seconds=clock() - since)
        raise
    seconds = well[0] - since
    history.append(f="recovery", type="ok" if seconds <= GOAL_S else "fail", seconds=seconds)
    return seconds


def problem_of(scenario: Scenario, model: str) -> str:
    """Probe once: return in words what is wrong with the cluster, "" if nothing is."""
    cluster = scenario.cluster
    try:
        published = {pod.name: PodAdmin(pod.admin_url).sequence() for pod in cluster.pods()}
        (answer,) = scenario.send([scenario.request(model, scenario.prompt(1))])
        views = [(view.routable(), view.sources()) for view in map(GatewayView, cluster.gateways())]
    except ClusterError as exc:
        return str(exc)
    return "; ".join(problems(answer, published, views))


def problems(
    answer: Answer,
    published: Mapping[str, int],
    views: Sequence[tuple[Collection[str], Sequence[SourceView]]],
) -> Iterator[str]:
    """Say whether a request failed, and what each gateway lacks. Pure.

    `published` has the last batch of each pod; `views` the pods that a gateway uses, and what it follows.
    """
    if not answer.ok:
        yield f"a request failed: {answer.status} {answer.error}"
    for used, sources in views:
        if unused := published.keys() - used:
            yield f"not used: {', '.join(sorted(unused))}"
        if unfollowed := published.keys() - {source.pod for source in sources}:
            yield f"not followed: {', '.join(sorted(unfollowed))}"
        for source in sources:
            last = -1 if source.last is None else source.last
            if source.state != "exact" or last < published.get(source.pod, -1):
                yield f"{source} of {published.get(source.pod)}"
