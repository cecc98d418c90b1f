"""The engine runs the scheduler in time: waits, tokens, cancellation, restarts."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from kvsync.events import AllBlocksCleared, BlockStored, Event
from kvsync.simulator.blocks import BASE_MODEL, BlockCache
from kvsync.simulator.engine import Engine, EngineRestarted, Generation, Token
from kvsync.simulator.latency import LatencyModel
from kvsync.simulator.scheduler import Scheduler

LATENCY = LatencyModel(ttft_base_ms=10, prefill_ms_per_token=2, inter_token_ms=3, scale=1)


class Bench:
    """An engine over four-token blocks, with time that passes only when the engine sleeps."""

    def __init__(self, latency: LatencyModel = LATENCY) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self.batches: list[tuple[Event, ...]] = []
        self.engine = Engine(
            lambda: Scheduler(BlockCache(8, 4)),
            announce=self._announce,
            latency=latency,
            seed=0,
            clock=lambda: self.now,
            sleep=self._sleep,
        )

    async def answer(self, *prompts: Generation) -> list[Token]:
        """All tokens of the answers."""
        return [token async for token in self.engine.generate(prompts)]

    def _announce(self, events: Sequence[Event]) -> None:
        self.batches.append(tuple(events))

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds, 6))
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A running engine."""
    bench = Bench()
    task = asyncio.create_task(bench.engine.run())
    yield bench
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def prompt(tokens: range, max_tokens: int) -> Generation:
    """A prompt of the base model."""
    return Generation(token_ids=tokens, scope=BASE_MODEL, max_tokens=max_tokens)


async def test_first_token_costs_the_prompt_and_each_further_one_a_token_time(bench: Bench) -> None:
    """Time to the first token is a base and a price per token; then one token time each."""
    await bench.answer(prompt(range(5), 3))

    assert bench.waits == [0.020, 0.003, 0.003]


async def test_cached_tokens_cost_nothing(bench: Bench) -> None:
    """Only what is not cached is computed and paid."""
    await bench.answer(prompt(range(10), 1))
    (token,) = await bench.answer(prompt(range(10), 1))

    assert (bench.waits, token.cached_tokens) == ([0.030, 0.014], 8)


@pytest.mark.parametrize(("scale", "waits"), [(0, [0, 0]), (2, [0.04, 0.006])], ids=["none", "double"])
def test_scale_stretches_every_wait(scale: float, waits: list[float]) -> None:
    """The scale multiplies prefill and decode time."""
    latency = LatencyModel(ttft_base_ms=10, prefill_ms_per_token=2, inter_token_ms=3, scale=scale)

    assert [latency.step_s(5), latency.step_s(0)] == waits


async def test_answers_to_several_prompts_come_side_by_side(bench: Bench) -> None:
    """Tokens name the prompt they answer; the last one of each says why it ended."""
    tokens = await bench.answer(prompt(range(4), 2), prompt(range(100, 104), 1))

    assert [(token.index, token.ending) for token in tokens] == [(0, None), (1, "length"), (0, "length")]


async def test_events_of_a_step_are_announced_together(bench: Bench) -> None:
    """Everything that one step stores is one batch, and a step that stores nothing is silent."""
    await bench.answer(prompt(range(4), 2), prompt(range(100, 104), 2))

    assert [[type(event) for event in batch] for batch in bench.batches] == [[BlockStored, BlockStored]]


async def test_closing_the_answer_frees_the_blocks(bench: Bench) -> None:
    """A client that goes away leaves nothing running."""
    answer = bench.engine.generate([prompt(range(9), 20)])
    await anext(answer)
    assert bench.engine.scheduler.cache.free_blocks == 5

    await answer.aclose()

    assert (bench.engine.scheduler.cache.free_blocks, bench.engine.scheduler.is_idle) == (8, True)
    assert bench.engine.metrics.finished == {"abort": 1}


async def test_engine_sleeps_when_it_has_nothing_to_do(bench: Bench) -> None:
    """After the last answer no step is made until the next prompt."""
    await bench.answer(prompt(range(4), 1))
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(bench.waits) == 1

    await bench.answer(prompt(range(4), 1))
    assert len(bench.waits) == 2


async def test_restart_fails_running_requests_and_empties_the_cache(bench: Bench) -> None:
    """A crash loses requests and blocks without announcing it; the engine then works on."""
    answer = bench.engine.generate([prompt(range(9), 20)])
    await anext(answer)

    bench.engine.restart()

    with pytest.raises(EngineRestarted, match="try again"):
        [token async for token in answer]
    assert (bench.engine.scheduler.cache.table(), len(bench.batches)) == ((), 1)
    assert [token.cached_tokens for token in await bench.answer(prompt(range(9), 1))] == [0]


async def test_clear_is_announced(bench: Bench) -> None:
    """A cleared cache is announced at once, without waiting for a step."""
    await bench.answer(prompt(range(9), 1))

    assert bench.engine.clear() is True
    assert bench.batches[1:] == [(AllBlocksCleared(),)]


async def test_a_late_clear_is_announced_with_the_next_step(bench: Bench) -> None:
    """An idle engine keeps it to itself, and tells it before what the step stores."""
    await bench.answer(prompt(range(9), 1))

    assert bench.engine.clear(late=True) is True
    assert len(bench.batches) == 1
    assert [token.cached_tokens for token in await bench.answer(prompt(range(9), 1))] == [0]
    assert [type(event) for event in bench.batches[1]] == [AllBlocksCleared, BlockStored]


async def test_clear_is_refused_while_a_request_runs(bench: Bench) -> None:
    """Nothing is cleared or announced under a running request."""
    answer = bench.engine.generate([prompt(range(9), 20)])
    await anext(answer)

    assert bench.engine.clear() is False
    assert len(bench.batches) == 1
    await answer.aclose()


async def test_same_requests_give_the_same_answers_and_events() -> None:
    """Two engines that get the same prompts in the same order cannot be told apart."""

    async def lived() -> tuple[list[list[Token]], list[tuple[Event, ...]]]:
        bench = Bench()
        task = asyncio.create_task(bench.engine.run())
        answers = [await bench.answer(prompt(range(start, 12), 9)) for start in (0, 4, 0)]
        task.cancel()
        return answers, bench.batches

    assert await lived() == await lived()
