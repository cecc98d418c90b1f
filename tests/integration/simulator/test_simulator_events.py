"""The simulator's events on the wire, and its admin interface: what it says, holds and suffers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
import zmq
import zmq.asyncio

from kvsync.codec import Encoding, decode, encode
from kvsync.errors import ConfigError, PortInUse
from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored
from kvsync.simulator.pod import SimulatedPod
from kvsync.simulator.run import SimulatorOptions, running

END = b"\xff" * 8
SLOW_MS = 3_600_000
"""A time that no test waits for."""

Simulate = Callable[..., Awaitable[tuple[SimulatedPod, httpx.AsyncClient]]]
Eventually = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture
async def context() -> AsyncIterator[zmq.asyncio.Context]:
    """Sockets of a peer, closed after the test."""
    with zmq.asyncio.Context() as context:
        yield context
        context.destroy(linger=0)


def admin(pod: SimulatedPod, path: str) -> str:
    """The URL of a path of the admin interface."""
    return f"http://{pod.options.host}:{pod.options.admin_port}{path}"


async def subscribed(context: zmq.asyncio.Context, pod: SimulatedPod) -> tuple[zmq.asyncio.Socket, int]:
    """A SUB socket that gets what is published from now on, and the number that comes next."""
    socket = context.socket(zmq.SUB)
    socket.subscribe(b"")
    socket.connect(pod.publisher.endpoint)
    while not await socket.poll(20):
        pod.engine.clear()
    while await socket.poll(0):
        await socket.recv_multipart()
    return socket, pod.publisher.next_sequence


async def replayed(context: zmq.asyncio.Context, pod: SimulatedPod) -> list[list[bytes]]:
    """Everything the pod published, as a DEALER sees it, without the end marker."""
    socket = context.socket(zmq.DEALER)
    socket.connect(pod.publisher.replay_endpoint or "")
    await socket.send_multipart([b"", bytes(8)])
    frames: list[list[bytes]] = []
    async with asyncio.timeout(5):
        while END not in (answer := await socket.recv_multipart()):
            frames.append(answer)
    return frames


async def complete(client: httpx.AsyncClient, prompt: list[int], **body: object) -> int:
    """Answer a prompt with one token; gives the cached tokens."""
    answer = await client.post("/v1/completions", json={"prompt": prompt, "max_tokens": 1, **body})
    assert answer.status_code == 200, answer.text
    cached: int = answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    return cached


async def test_live_message_has_three_frames_as_vllm_sends_them(
    simulate: Simulate, context: zmq.asyncio.Context
) -> None:
    """Topic, eight-byte number, batch; in the batch, events as maps with vLLM's fields."""
    pod, client = await simulate(topic="kv@a@base", block_size=4, loras=("sql",))
    subscriber, number = await subscribed(context, pod)

    await complete(client, [1, 2, 3, 4, 5], model="sql", cache_salt="tenant")

    topic, sequence, payload = await subscriber.recv_multipart()
    assert (topic, sequence) == (b"kv@a@base", number.to_bytes(8, "big"))
    batch = decode(payload)
    assert batch.rank == 0
    assert batch.skipped == ()
    assert batch.events == (
        BlockStored(
            block_hashes=(0x94156A31C7AFFF03,),
            parent_block_hash=None,
            token_ids=(1, 2, 3, 4),
            block_size=4,
            lora_id=1,
            lora_name="sql",
            extra_keys=(("sql", "tenant"),),
            group_idx=0,
            spec_kind="full_attention",
        ),
    )


@pytest.mark.parametrize("events_as", list(Encoding), ids=lambda one: f"events as {one.value}")
@pytest.mark.parametrize("batch_as", list(Encoding), ids=lambda one: f"batch as {one.value}")
@pytest.mark.parametrize("hash_width", [8, 32])
async def test_encoding_is_the_one_asked_for(
    simulate: Simulate, context: zmq.asyncio.Context, events_as: Encoding, batch_as: Encoding, hash_width: int
) -> None:
    """Every generation of the wire format can be produced."""
    pod, client = await simulate(events_as=events_as.value, batch_as=batch_as.value, hash_width=hash_width)
    await complete(client, list(range(40)))

    ((*_, payload),) = await replayed(context, pod)

    batch = decode(payload)
    assert len(batch.events) == 1
    assert payload == encode(batch, events_as=events_as, batch_as=batch_as, hash_width=hash_width)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "lora_name", "extra_keys"),
    [
        pytest.param({"loras_as": "id"}, None, (("sql", "tenant"),), id="before 0.14, adapters by number"),
        pytest.param({"extra_keys": "left-out"}, "sql", None, id="before 0.17, no extra keys"),
    ],
)
async def test_fields_of_later_releases_are_left_out(
    simulate: Simulate,
    context: zmq.asyncio.Context,
    options: dict[str, object],
    lora_name: str | None,
    extra_keys: object,
) -> None:
    """An adapter without its name, a salted block without its salt; the cache itself is the same."""
    pod, client = await simulate(loras=("sql",), **options)
    for _ in range(2):
        cached = await complete(client, list(range(17)), model="sql", cache_salt="tenant")

    ((*_, payload),) = await replayed(context, pod)

    (event,) = decode(payload).events
    assert isinstance(event, BlockStored)
    assert (event.lora_id, event.lora_name, event.extra_keys) == (1, lora_name, extra_keys)
    assert cached == 16


@pytest.mark.parametrize(("layout", "frames"), [("new", 4), ("old", 3)])
async def test_replay_has_the_layout_asked_for_and_begins_at_zero(
    simulate: Simulate, context: zmq.asyncio.Context, layout: str, frames: int
) -> None:
    """Batches are numbered from 0 and come in the layout of the imitated release."""
    pod, client = await simulate(replay_layout=layout)
    for start in (0, 100):
        await complete(client, list(range(start, start + 20)))

    answers = await replayed(context, pod)

    assert [len(answer) for answer in answers] == [frames, frames]
    assert [answer[-2] for answer in answers] == [bytes(8), bytes(7) + b"\x01"]


async def test_table_is_what_the_events_add_up_to(simulate: Simulate, context: zmq.asyncio.Context) -> None:
    """Counting stored and removed hashes gives the block table with its copies."""
    pod, client = await simulate(capacity=6, block_size=4)
    for prompt in (range(12), range(12), range(8, 29), range(16), range(100, 108)):
        await complete(client, list(prompt), max_tokens=3)

    counts: dict[int, int] = {}
    for *_, payload in await replayed(context, pod):
        for event in decode(payload).events:
            assert isinstance(event, BlockStored | BlockRemoved)
            for one in event.block_hashes:
                counts[one] = counts.get(one, 0) + (1 if isinstance(event, BlockStored) else -1)

    table = (await client.get(admin(pod, "/blocks"))).json()
    assert (await client.get(admin(pod, "/sequence"))).json() == {
        "epoch": table["epoch"],
        "seq": table["seq"],
    }
    assert {one["hash"]: one["copies"] for one in table["blocks"]} == {
        f"{one:016x}": count for one, count in counts.items() if count
    }
    assert table["seq"] == pod.publisher.next_sequence - 1


async def test_table_describes_each_block(simulate: Simulate) -> None:
    """A block has its parent, tokens, adapter, salt and number of copies; an unused pod has none."""
    pod, client = await simulate(block_size=2, loras=("sql",))
    before = (await client.get(admin(pod, "/blocks"))).json()
    await complete(client, [1, 2, 3, 4], model="sql", cache_salt="tenant")
    table = (await client.get(admin(pod, "/blocks"))).json()

    assert (before["seq"], before["blocks"]) == (-1, [])
    assert (table["pod"], table["model"], table["seq"]) == ("a", "base", 0)
    assert (table["block_size"], table["capacity"]) == (2, 1024)
    assert table["blocks"] == [
        {
            "hash": "3e3b57edf073ba96",
            "parent": None,
            "token_ids": [1, 2],
            "lora": "sql",
            "salt": "tenant",
            "copies": 1,
        },
        {
            "hash": "93ce1fcf51ddfb14",
            "parent": "3e3b57edf073ba96",
            "token_ids": [3, 4],
            "lora": "sql",
            "salt": None,
            "copies": 1,
        },
    ]


async def test_lost_messages_can_be_replayed(simulate: Simulate, context: zmq.asyncio.Context) -> None:
    """A dropped batch does not arrive, keeps its number and stays in the ring; the counts prove it."""
    pod, client = await simulate()
    subscriber, number = await subscribed(context, pod)
    assert (await client.put(admin(pod, "/faults"), json={"drop": 1})).status_code == 200
    await complete(client, list(range(20)))
    await client.put(admin(pod, "/faults"), json={})
    await complete(client, list(range(100, 120)))
    status = (await client.get(admin(pod, "/faults"))).json()

    _, sequence, _ = await subscriber.recv_multipart()
    assert int.from_bytes(sequence, "big") == number + 1
    assert len(await replayed(context, pod)) == number + 2
    assert (status["drop"], status["counts"]["dropped"]) == (0, 1)


async def test_delayed_message_arrives_by_itself(simulate: Simulate, context: zmq.asyncio.Context) -> None:
    """A late batch is sent when its time has come, without another one pushing it."""
    pod, client = await simulate()
    subscriber, number = await subscribed(context, pod)
    await client.put(admin(pod, "/faults"), json={"delay_s": 0.1})
    await complete(client, list(range(20)))
    assert not await subscriber.poll(0)

    _, sequence, _ = await subscriber.recv_multipart()

    assert int.from_bytes(sequence, "big") == number


async def test_a_wrong_clock_is_in_what_is_published(
    simulate: Simulate, context: zmq.asyncio.Context
) -> None:
    """A batch carries the time of the engine's clock, which can be asked for, and can be right again."""
    pod, client = await simulate()
    await client.put(admin(pod, "/faults"), json={"clock_offset_s": 3600})
    await complete(client, list(range(20)))
    wrong = (await client.get(admin(pod, "/clock"))).json()["wall"]
    await client.put(admin(pod, "/faults"), json={})
    right = (await client.get(admin(pod, "/clock"))).json()["wall"]

    ((_, payload),) = [frames[-2:] for frames in await replayed(context, pod)]
    assert 3500 < wrong - right <= 3600
    assert abs(wrong - decode(payload).ts) < 60


async def test_bad_faults_are_refused(simulate: Simulate) -> None:
    """A wrong fault is a 400 that names it and changes nothing."""
    pod, client = await simulate()
    answer = await client.put(admin(pod, "/faults"), json={"drop": 2})
    status = (await client.get(admin(pod, "/faults"))).json()

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "drop must be a number from 0 to 1, not 2"
    assert status["drop"] == 0


async def test_restart_in_place_begins_anew_in_silence(
    simulate: Simulate, context: zmq.asyncio.Context
) -> None:
    """After a restart the cache is empty, numbers start at 0, and nothing was announced."""
    pod, client = await simulate()
    await complete(client, list(range(20)))
    before = (await client.get(admin(pod, "/blocks"))).json()
    assert (await client.post(admin(pod, "/restart"))).status_code == 200
    after = (await client.get(admin(pod, "/blocks"))).json()

    assert (before["seq"], after["seq"], after["blocks"]) == (0, -1, [])
    assert after["epoch"] > before["epoch"]
    assert await replayed(context, pod) == []
    assert await complete(client, list(range(20))) == 0
    assert [answer[-2] for answer in await replayed(context, pod)] == [bytes(8)]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_restart_fails_running_requests(
    simulate: Simulate, eventually: Eventually, stream: bool
) -> None:
    """A request that the engine lost ends with an error, not with a cut answer that looks whole."""
    pod, client = await simulate(time_scale=1, inter_token_ms=SLOW_MS)
    request = asyncio.create_task(
        client.post("/v1/completions", json={"prompt": list(range(20)), "stream": stream})
    )
    await eventually(lambda: pod.engine.metrics.generation_tokens == 1)

    pod.restart()

    answer = await request
    failure = {
        "error": {
            "message": "the engine was restarted before the answer was complete; try again",
            "type": "InternalServerError",
            "param": None,
            "code": 500,
        }
    }
    if stream:
        assert [json.loads(answer.text.split("\n\n")[1].removeprefix("data: "))] == [failure]
    else:
        assert (answer.status_code, answer.json()) == (500, failure)


async def test_clear_is_announced_or_refused(
    simulate: Simulate, context: zmq.asyncio.Context, eventually: Eventually
) -> None:
    """Clearing works at rest and is announced; under a running request it is a 409 and changes nothing."""
    pod, client = await simulate(time_scale=1, inter_token_ms=SLOW_MS)
    await complete(client, list(range(20)))
    cleared = await client.post(admin(pod, "/clear"))
    request = asyncio.create_task(complete(client, list(range(20)), max_tokens=2))
    await eventually(lambda: pod.engine.metrics.generation_tokens == 2)
    refused = await client.post(admin(pod, "/clear"))
    request.cancel()

    assert (cleared.status_code, cleared.json()) == (200, {"cleared": True})
    assert (refused.status_code, refused.json()) == (409, {"cleared": False})
    kinds = [[type(event) for event in decode(frames[-1]).events] for frames in await replayed(context, pod)]
    assert kinds == [[BlockStored], [AllBlocksCleared], [BlockStored]]


async def test_history_has_a_line_for_every_batch(simulate: Simulate, tmp_path: Path) -> None:
    """Each batch is on record with its number, epoch and hashes."""
    path = tmp_path / "a.jsonl"
    pod, client = await simulate(history=path, capacity=2, block_size=4)
    await complete(client, [1, 2, 3, 4])
    await complete(client, [5, 6, 7, 8, 9])
    pod.engine.clear()

    lines = [json.loads(line) for line in path.read_text().splitlines()]

    assert [(line["seq"], line["stored"], line["removed"], line["cleared"]) for line in lines] == [
        (0, ["1e0b2e028ef071cb"], [], False),
        (1, ["596081d0e60fd607"], ["1e0b2e028ef071cb"], False),
        (2, [], [], True),
    ]
    assert {(line["f"], line["type"], line["pod"], line["model"], line["epoch"]) for line in lines} == {
        ("publish", "info", "a", "base", pod.epoch)
    }
    assert all(isinstance(line["t_mono"], float) and isinstance(line["wall"], float) for line in lines)


async def test_history_that_cannot_be_written_is_refused(simulate: Simulate, tmp_path: Path) -> None:
    """A simulator without its record does not start."""
    with pytest.raises(ConfigError, match=r"history: cannot write .*No such file or directory"):
        await simulate(history=tmp_path / "missing" / "a.jsonl")


@pytest.mark.parametrize("port", ["port", "event_port", "replay_port", "admin_port"])
async def test_taken_port_names_its_owner(simulate: Simulate, port: str) -> None:
    """A simulator that cannot have one of its ports says who holds it, and leaves nothing behind."""
    pod, _ = await simulate()
    taken = getattr(pod.options, port)
    free = {"port": 18_000, "event_port": 15_557, "replay_port": 15_558, "admin_port": 19_000}
    options = SimulatorOptions(name="b", model="m", host=pod.options.host, **(free | {port: taken}))

    for _ in range(2):
        with pytest.raises(PortInUse, match=rf"{pod.options.host}:{taken} is in use by .*\(pid \d+\)"):
            async with running(options):
                pass


async def test_simulator_without_replay_has_no_replay_port(simulate: Simulate) -> None:
    """vLLM's default is no replay endpoint: port 0 imitates it."""
    pod, client = await simulate(replay_port=0)

    await complete(client, list(range(20)))

    assert pod.publisher.replay_endpoint is None
    assert pod.publisher.next_sequence == 1
