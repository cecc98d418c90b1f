"""A gateway tells what it takes, and whether it gave it back."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import psutil
import pytest

from kvsync.config import GatewayConfig
from kvsync.gateway.server import running
from kvsync.pods import Pod
from kvsync.testing.clusters.cluster import Cluster
from kvsync.testing.clusters.local.addresses import LoopbackBlock
from kvsync.testing.load.vitals import Vitals, await_rest


@dataclass(frozen=True, slots=True)
class OneGateway:
    """As much of a cluster as is looked at."""

    url: str

    def gateways(self) -> Sequence[str]:
        """Where it is."""
        return [self.url]


def gateway() -> GatewayConfig:
    """Return the settings of a gateway for a pod that is not there."""
    here = LoopbackBlock(f"vitals {os.getpid()}").next()
    return GatewayConfig(
        host=here.host, port=here.port, pods=(Pod(name="p", model="m", host=here.host),), sync_enabled=False
    )


async def test_vitals_are_those_of_the_gateways_process() -> None:
    """Memory and open files are what the system says of it; tasks are at least the one that serves."""
    async with running(gateway()) as url:
        vitals = await asyncio.to_thread(Vitals.of, cast("Cluster", OneGateway(url)), 0.0)

    me = psutil.Process()
    assert vitals.resident == pytest.approx(me.memory_info().rss, rel=0.2)
    assert vitals.files == pytest.approx(me.num_fds(), abs=20)
    assert (vitals.tasks > 0, vitals.sources) == (True, 0)


async def test_what_is_not_given_back_is_named() -> None:
    """Files, tasks and sources are compared with what they were before."""
    async with running(gateway()) as url:
        cluster = cast("Cluster", OneGateway(url))
        before = await asyncio.to_thread(Vitals.of, cluster, 0.0)
        await asyncio.to_thread(await_rest, cluster, replace(before, tasks=before.tasks + 50))
        with pytest.raises(
            AssertionError, match=r"0.1 s after the load the gateway has \d+ tasks instead of 1$"
        ):
            await asyncio.to_thread(await_rest, cluster, replace(before, tasks=1), rest_s=0.1)
