"""A pod that computes and therefore misses its probes is not dead, at the real socket."""

import asyncio
import socket
from contextlib import ExitStack

from kvsync.access.peers import PeerClient
from kvsync.config import HealthConfig
from kvsync.gateway.health import HealthMonitor
from kvsync.pods import Pod
from kvsync.testing.doubles.upstream import CHUNK, STREAM_BEGUN, WHOLE, Upstream
from tests.integration.gateway.conftest import ADDRESSES, Site, health, until

REQUEST = {"model": "m", "prompt": [1, 2, 3]}

PROBES = {"interval_s": 0.05, "timeout_s": 0.25, "failures": 2}


async def probed(pod: Upstream, times: int) -> None:
    """Wait until `pod` was probed some more times."""
    wanted = pod.probes + times

    async def probes() -> int:
        return pod.probes

    await until(probes, lambda count: count >= wanted)


async def test_the_work_of_a_pod_that_misses_probes_is_waited_for(site: Site) -> None:
    """A pod that answers no probes, but accepts connections, keeps its request and answers it."""
    held = asyncio.Event()
    pod, other = await site.pod("busy", held=held), await site.pod("other", healthy=False)
    client = await site.gateway("busy", health=PROBES)
    request = asyncio.create_task(client.post("/v1/completions", json=REQUEST))
    await probed(pod, 1)
    pod.silent = True

    await until(lambda: health(client), {"busy": False, "other": False}.__eq__)
    await probed(pod, 10)
    held.set()
    answer = await request

    assert (answer.status_code, answer.headers["x-kvsync-pod"]) == (200, "busy")
    assert (len(pod.received), len(other.received)) == (1, 0)


async def test_a_long_queue_is_waited_for(site: Site) -> None:
    """A stream that does not begin within `first_byte_s` goes on waiting while its pod answers probes."""
    held = asyncio.Event()
    pod = await site.pod("a", held=held)
    client = await site.gateway("a", health={"interval_s": 0.03}, upstream={"first_byte_s": 1})
    request = asyncio.create_task(client.post("/v1/completions", json={**REQUEST, "stream": True}))

    begun_at = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < begun_at + 1.2:
        await probed(pod, 1)
    held.set()

    assert (await request).status_code == 200


async def test_a_silent_pod_is_not_waited_for_forever(site: Site) -> None:
    """Without any sign of life for `first_byte_s` the request goes to another pod."""
    pod = await site.pod("frozen", held=asyncio.Event())
    other = await site.pod("other", healthy=False)
    client = await site.gateway("frozen", health=PROBES, upstream={"first_byte_s": 1})
    pod.silent = True

    answer = await client.post("/v1/completions", json=REQUEST)

    assert (answer.status_code, answer.headers["x-kvsync-pod"]) == (200, "other")
    assert (len(pod.received), len(other.received)) == (1, 1)


async def test_a_pod_that_sends_answers_is_healthy(site: Site) -> None:
    """Bytes of a stream count as life while probes are not answered; once it has ended, they do not."""
    pod = await site.pod("a", answer=STREAM_BEGUN, drip=CHUNK)
    client = await site.gateway("a", health=PROBES)

    async with client.stream("POST", "/v1/completions", json=REQUEST) as answer:
        chunks = answer.aiter_bytes()
        pod.silent, until_probes = True, pod.probes + 20
        while pod.probes < until_probes:
            await anext(chunks)
        assert await health(client) == {"a": True}
    await until(lambda: health(client), {"a": False}.__eq__)


async def test_a_pod_that_is_gone_is_not_waited_for(site: Site) -> None:
    """A pod that answers its probes with errors loses its request at once."""
    pod, other = await site.pod("ill", held=asyncio.Event()), await site.pod("other", healthy=False)
    client = await site.gateway("ill", health=PROBES)
    request = asyncio.create_task(client.post("/v1/completions", json=REQUEST))
    await probed(pod, 1)
    pod.healthy, other.answer = False, WHOLE

    assert (await request).headers["x-kvsync-pod"] == "other"


async def test_a_host_that_accepts_no_connection_is_gone(site: Site) -> None:
    """Where connections are neither accepted nor refused, as behind a dead link, nothing lives."""
    pod = Pod(name="a", model="m", host=ADDRESSES.next().host)
    limits = HealthConfig(interval_s=0.05, timeout_s=0.1, failures=2)
    with ExitStack() as sockets:
        full = sockets.enter_context(socket.create_server((pod.host, pod.port), backlog=0))
        for _ in range(4):  # what does not fit into the backlog is dropped
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        client = await site.stack.enter_async_context(PeerClient())
        monitor = HealthMonitor(client, lambda: [pod], limits, {})
        task = asyncio.create_task(monitor.run())

        async def gone() -> bool:
            return monitor.of(pod).gone

        await until(gone, bool)
        task.cancel()
