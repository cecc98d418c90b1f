"""An engine with several data-parallel ranks behind one port."""

from contextlib import AsyncExitStack

from kvsync.codec import encode
from kvsync.events import BlockStored, EventBatch
from kvsync.pods import Pod
from kvsync.publisher import Publisher
from kvsync.testing.doubles.upstream import Upstream, listening
from tests.integration.conftest import Background
from tests.integration.gateway.conftest import ADDRESSES, Site, until

TOKENS = list(range(1000, 1064))


async def test_the_rank_that_holds_the_prefix_is_asked_for(site: Site, background: Background) -> None:
    """The request that reaches the engine names it, whatever the client named."""
    host = ADDRESSES.next().host
    site.pods.append(Pod(name="a", model="m", host=host, dp_size=2, replay_port=6000))
    engine = await site.stack.enter_async_context(listening(site.pods[0], Upstream()))
    ranks = [await publisher(site.stack, host, rank) for rank in range(2)]
    for each in ranks:
        background(each.serve())
    ranks[1].publish(
        encode(EventBatch(ts=1.0, events=(stored(),))),
    )
    client = await site.gateway("a", sync_enabled=True)
    question = {"model": "m", "prompt": [*TOKENS, 7]}
    await until(
        lambda: client.post("/index/query", json=question), lambda it: it.json()["matched"] == {"a": 4}
    )

    answer = await client.post("/v1/completions", json=question, headers={"X-Data-Parallel-Rank": "0"})

    assert answer.headers["x-kvsync-predicted-cached-tokens"] == "64"
    assert engine.received[-1].headers["x-data-parallel-rank"] == "1"


async def publisher(stack: AsyncExitStack, host: str, rank: int) -> Publisher:
    """The publisher of a rank."""
    made = Publisher(endpoint=f"tcp://{host}:{5557 + rank}", replay_endpoint=f"tcp://{host}:{6000 + rank}")
    return await stack.enter_async_context(made)


def stored() -> BlockStored:
    """Four blocks from the root on."""
    return BlockStored(
        block_hashes=(1, 2, 3, 4), parent_block_hash=None, token_ids=tuple(TOKENS), block_size=16
    )
