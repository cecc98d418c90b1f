"""Pods while the API server forgets, breaks, refuses, is silent or away."""

import itertools
import json
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kvsync.config import KubernetesConfig
from kvsync.kube.discovery import pause_s
from kvsync.pods import Pod
from kvsync.testing.doubles.api_server import FakeApiServer, pod_manifest

if TYPE_CHECKING:
    from tests.integration.conftest import Eventually
    from tests.integration.kube.conftest import Follow

A = Pod(name="a", model="qwen", host="10.0.0.1")
B = Pod(name="b", model="qwen", host="10.0.0.2")
C = Pod(name="c", model="qwen", host="10.0.0.3")

ONCE = {"retry_s": 1000, "retry_max_s": 1000}
"""After a failure nothing more happens within the test."""

IN_A_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

FORBIDDEN = 'pods is forbidden: User "system:serviceaccount:x:g" cannot list resource "pods" in API group ""'


async def test_a_broken_connection_loses_nothing(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """What happened meanwhile is told by a watch from the version heard of last, without a list."""
    followed = follow()
    await eventually(lambda: not followed.problem)
    api.cut()
    api.delete("a")
    api.put(pod_manifest("b", ip="10.0.0.2"))
    await eventually(lambda: followed.newest == (B,))

    assert followed.snapshots == [(A,), (), (B,)]
    assert [asked.since for asked in api.asked] == [None, "101", "101"]


@pytest.mark.parametrize("api", ["event", "status"], indirect=True)
async def test_a_forgotten_version_is_followed_by_a_list(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """After 410 Gone the pods of a new list take the place of the old ones in one step."""
    followed = follow()
    await eventually(lambda: not followed.problem)
    api.put(pod_manifest("b", ip="10.0.0.2"))
    await eventually(lambda: followed.newest == (A, B))
    api.cut()
    api.delete("a")
    api.put(pod_manifest("c", ip="10.0.0.3"))
    api.forget()
    await eventually(lambda: len(api.asked) == 5)

    assert followed.snapshots == [(A,), (A, B), (B, C)]
    assert [asked.since for asked in api.asked] == [None, "101", "102", None, "104"]


async def test_after_an_outage_a_list_is_not_put_off(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """An API server that restarts has forgotten, which is not a failure, however many there were before."""
    followed = follow(retry_s=0.2, retry_max_s=1000)
    await eventually(lambda: not followed.problem)
    api.refuse(503)
    api.cut()
    await eventually(lambda: len(api.asked) == 4)
    api.put(pod_manifest("b", ip="10.0.0.2"))
    api.forget()
    api.accept()
    await eventually(lambda: followed.newest == (A, B) or "too old" in followed.problem)

    assert followed.newest == (A, B)


async def test_what_is_forgotten_after_news_is_listed_at_once(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """Each version that led on before it was forgotten has its list without a pause."""
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "101"}}}
    gone = {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}
    api.refuse(200, f"{json.dumps(bookmark)}\n{json.dumps(gone)}\n", watches_only=True)
    followed = follow(**ONCE)
    await eventually(lambda: len(api.asked) > 6 or followed.pauses)

    assert [asked.since for asked in api.asked[:6]] == [None, "101"] * 3
    assert followed.pauses == []


async def test_an_api_server_that_always_forgets_is_not_pressed(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """A 410 for the version of the list that the last 410 asked for is a failure like any other."""
    api.refuse(410, watches_only=True)
    followed = follow(**ONCE)
    await eventually(lambda: followed.pauses)

    assert "answered 410: because the test says so" in followed.problem
    assert [asked.since for asked in api.asked] == [None, "101", None, "101"]
    assert followed.snapshots == [(A,)]


@pytest.mark.parametrize("took_s", [0.0, 9.9], ids=["as it begins", "before half of its time"])
async def test_a_watch_that_ends_early_is_a_failure(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually", took_s: float
) -> None:
    """A watch that ends long before its time, here 20 s, is not asked for again without a pause."""
    api.refuse(200, "", watches_only=True)
    followed = follow(clock=_steps(took_s), **ONCE)
    await eventually(lambda: followed.pauses)

    assert followed.problem.endswith("the watch was ended early")
    assert [asked.since for asked in api.asked] == [None, "101"]


async def test_an_event_ends_an_outage(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """The failure after it is the first of the next outage: its pause is short, and it counts from there."""
    followed = follow(retry_max_s=1000)
    await eventually(lambda: not followed.problem)
    api.refuse(503)
    api.cut()
    await eventually(lambda: len(followed.pauses) >= 3)
    api.accept()
    await eventually(lambda: not followed.problem)
    followed.pauses.clear()
    followed.now += timedelta(minutes=1)
    api.put(pod_manifest("b", ip="10.0.0.2"))
    await eventually(lambda: followed.newest == (A, B))
    followed.now += timedelta(minutes=1)
    await api.away()
    await eventually(lambda: followed.pauses)

    assert followed.pauses[0] <= 0.01
    assert followed.problem.startswith("no news of pods since 2026-01-02T03:05:05Z: ")


async def test_a_watch_that_ends_in_time_ends_an_outage(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """That nothing happened for half of its time is news as well; the next watch begins without a pause."""
    api.refuse(503)
    followed = follow(clock=_steps(10.0), retry_max_s=1000)
    await eventually(lambda: len(followed.pauses) >= 3)
    api.refuse(200, "", watches_only=True)
    await eventually(lambda: [asked.since for asked in api.asked[-2:]] == ["101", "101"])
    followed.pauses.clear()
    api.refuse(503)
    await eventually(lambda: followed.pauses)

    assert followed.pauses[0] <= 0.01


async def test_while_the_api_server_is_away_the_pods_stay(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """The problem says since when; when it is back all that changed is told."""
    followed = follow()
    await eventually(lambda: not followed.problem)
    await api.away()
    await eventually(lambda: "Cannot connect" in followed.problem)
    assert followed.problem.startswith(f"no news of pods since 2026-01-02T03:04:05Z: {api.url}: ")

    api.put(pod_manifest("b", ip="10.0.0.2"))
    api.delete("a")
    await api.back()
    await eventually(lambda: followed.newest == (B,) and not followed.problem)

    assert followed.snapshots == [(A,), (A, B), (B,)]


async def test_an_api_server_may_come_later(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """Without an API server there are no pods and a problem, at once; the pods are taken when it comes."""
    await api.away()
    followed = follow()
    await eventually(lambda: followed.snapshots)
    assert "Cannot connect" in followed.problem

    await api.back()
    await eventually(lambda: not followed.problem)

    assert followed.snapshots == [(), (A,)]


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (401, None, "the credentials of context fake of {file} are not accepted; renew them"),
        (
            403,
            None,
            "because the test says so; allow context fake of {file} to list and watch pods there",
        ),
        (403, FORBIDDEN, FORBIDDEN + "; allow context fake of {file} to list and watch pods there"),
        (502, "<p>\n <b>Bad Gateway</b>\n</p>", "answered 502: <p> <b>Bad Gateway</b> </p>"),
        (200, '{"kind": "PodList"}', "the answer is not understood: "),
        (200, '{"metadata": {"resourceVersion": ""}, "items": []}', "the answer is not understood: "),
        (200, "x" * 3_000_000, "the answer is not understood: "),
    ],
    ids=["unauthorized", "forbidden", "by a proxy", "bad gateway", "other object", "no version", "no line"],
)
async def test_a_refusal_says_how_to_mend_it(
    api: FakeApiServer,
    follow: "Follow",
    eventually: "Eventually",
    kubeconfig: Path,
    status: int,
    body: str | None,
    problem: str,
) -> None:
    """While requests are refused the pods stay and the problem says what to do; then changes are told."""
    followed = follow()
    await eventually(lambda: not followed.problem)
    api.refuse(status, body)
    api.cut()
    await eventually(lambda: problem.format(file=kubeconfig) in followed.problem)
    await eventually(lambda: sum(asked.since is None for asked in api.asked) == 3)
    api.put(pod_manifest("b", ip="10.0.0.2"))
    api.accept()
    await eventually(lambda: followed.newest == (A, B) and not followed.problem)

    assert followed.snapshots == [(A,), (A, B)]


async def test_pods_that_may_not_be_watched_are_listed(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """Without the right to watch each attempt still brings a list, and the problem stays."""
    api.refuse(403, watches_only=True)
    followed = follow()
    await eventually(lambda: "to list and watch pods" in followed.problem)
    api.put(pod_manifest("b", ip="10.0.0.2"))
    await eventually(lambda: followed.newest == (A, B))

    assert "to list and watch pods" in followed.problem


async def test_a_silent_connection_is_given_up(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """A connection that stays open but does not even say that the watch ended is dead."""
    followed = follow(watch_s=1, timeout_s=0.2)
    await eventually(lambda: not followed.problem)
    api.stall()
    api.put(pod_manifest("b", ip="10.0.0.2"))
    await eventually(lambda: "no answer in time" in followed.problem)
    assert followed.snapshots == [(A,)]

    api.resume()
    await eventually(lambda: followed.newest == (A, B) and not followed.problem)


async def test_a_watch_may_be_too_slow_to_begin(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """A watch lasts long, but its first answer is due as soon as any other."""
    followed = follow(timeout_s=0.3)
    await eventually(lambda: not followed.problem)
    api.delay_s = 30.0
    api.cut()
    await eventually(lambda: "no answer in time" in followed.problem)

    assert {asked.since for asked in api.asked[1:]} == {"101"}


async def test_an_api_server_may_be_too_slow(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """When no answer comes in time there are no pods; they are taken as soon as one does."""
    api.delay_s = 30.0
    followed = follow(timeout_s=0.3)
    await eventually(lambda: followed.snapshots == [()])
    assert "no answer in time" in followed.problem

    api.delay_s = 0.01
    await eventually(lambda: followed.newest == (A,) and not followed.problem)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (Path.unlink, "No such file"),
        (lambda file: file.write_text("{"), "expected the node content"),
        (lambda file: file.write_text("{}"), "Expected key current-context"),
        (lambda file: file.write_text("{current-context: x}"), "Expected object with name x"),
    ],
    ids=["gone", "no yaml", "empty", "no such context"],
)
async def test_a_wrong_kubeconfig_may_be_mended(
    api: FakeApiServer,
    follow: "Follow",
    eventually: "Eventually",
    kubeconfig: Path,
    spoil: Callable[[Path], object],
    problem: str,
) -> None:
    """What is wrong with the file is told, and the file is read again until it is right."""
    spoil(kubeconfig)
    followed = follow()
    await eventually(lambda: followed.snapshots == [()])
    assert f"kubeconfig {kubeconfig}: " in followed.problem
    assert problem in followed.problem

    api.kubeconfig(kubeconfig)
    await eventually(lambda: followed.newest == (A,) and not followed.problem)


@pytest.mark.skipif(IN_A_POD.exists(), reason="this machine is a pod of a cluster")
async def test_outside_of_a_cluster_a_kubeconfig_is_needed(
    follow: "Follow", eventually: "Eventually"
) -> None:
    """Without a kubeconfig the gateway must be a pod; where it is not one, the problem says what to give."""
    followed = follow(kubeconfig=None)
    await eventually(lambda: followed.snapshots == [()])

    assert "this is not a pod of a cluster; give kubernetes.kubeconfig" in followed.problem


async def test_renewed_credentials_are_found(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually", kubeconfig: Path
) -> None:
    """After a failure the kubeconfig is read again."""
    followed = follow()
    await eventually(lambda: not followed.problem)
    api.kubeconfig(kubeconfig, bearer="new")
    api.cut()
    await eventually(lambda: len(api.asked) == 3)

    assert [asked.token for asked in api.asked] == ["t", "t", "new"]


async def test_another_cluster_is_another_list(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually", kubeconfig: Path
) -> None:
    """A version of one cluster means nothing in the next one, to which the kubeconfig leads since."""
    followed = follow()
    await eventually(lambda: not followed.problem)
    async with FakeApiServer() as other:
        other.put(pod_manifest("b", ip="10.0.0.2"))
        other.kubeconfig(kubeconfig)
        await api.away()
        await eventually(lambda: followed.newest == (B,) and not followed.problem)

    assert followed.snapshots == [(A,), (B,)]


async def test_an_outage_is_logged_once(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually", caplog: pytest.LogCaptureFixture
) -> None:
    """However many attempts fail in a minute, one line says that the pods stay as they were."""
    followed = follow()
    await eventually(lambda: not followed.problem)
    api.refuse(503)
    api.cut()
    await eventually(lambda: len(api.asked) > 6)

    (line,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert line.startswith("the pods stay as they were: no news of pods since 2026-01-02T03:04:05Z: ")


async def test_who_stops_following_leaves_no_connection(
    api: FakeApiServer, follow: "Follow", eventually: "Eventually"
) -> None:
    """The watch ends with the task that follows."""
    followed = follow()
    await eventually(lambda: api.watching == 1)
    assert followed.task is not None
    followed.task.cancel()
    await eventually(lambda: api.watching == 0)

    assert followed.task.cancelled()


def test_pauses_double_up_to_a_limit() -> None:
    """Each pause is half to all of what has doubled, so that many gateways do not come back at once."""
    config = KubernetesConfig(retry_s=0.5, retry_max_s=10)
    low, high = _Fixed(0.0), _Fixed(1.0)

    assert [pause_s(config, failures, low) for failures in (1, 2, 5, 6, 5000)] == [0.25, 0.5, 4.0, 5.0, 5.0]
    assert [pause_s(config, failures, high) for failures in (1, 2, 5, 6, 5000)] == [0.5, 1.0, 8.0, 10.0, 10.0]


def _steps(step_s: float) -> Callable[[], float]:
    """Make a clock that is later by so much each time it is read, as when a watch begins and when it ends."""
    count = itertools.count()
    return lambda: step_s * next(count)


class _Fixed(random.Random):
    """A die that always shows the same."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def random(self) -> float:
        return self._share
