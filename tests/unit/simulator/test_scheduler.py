"""The scheduler batches as vLLM V1's does."""

from kvsync.simulator.blocks import BASE_MODEL, BlockCache, CacheScope
from kvsync.simulator.scheduler import EngineStep, Request, Scheduler


def scheduler(capacity: int = 16, *, seats: int = 8, budget: int = 64) -> Scheduler:
    """A scheduler over blocks of four tokens."""
    return Scheduler(BlockCache(capacity, 4), max_num_seqs=seats, max_batched_tokens=budget)


def request(
    name: str, prompt: range, max_tokens: int, scope: CacheScope = BASE_MODEL, seed: int = 0
) -> Request:
    """A request for an answer of `max_tokens` tokens."""
    return Request(name=name, tokens=list(prompt), scope=scope, max_tokens=max_tokens, seed=seed)


def run(engine: Scheduler) -> list[EngineStep]:
    """Step until nothing is left to do."""
    steps = []
    while not engine.is_idle:
        steps.append(engine.schedule())
        engine.complete(steps[-1])
    return steps


def names(step: EngineStep) -> list[str]:
    """Who computed in a step."""
    return [one.name for one in step.computed]


def test_request_is_prefilled_at_once_and_then_decodes_token_by_token() -> None:
    """The first step computes the prompt and gives the first token, each further step the next."""
    engine = scheduler()
    engine.add(request("r", range(10), 3))

    steps = run(engine)

    assert [(names(step), step.prefill_tokens) for step in steps] == [(["r"], 10), (["r"], 0), (["r"], 0)]


def test_last_generated_token_is_never_cached() -> None:
    """A token enters the cache when the next one is computed, so the last one never does."""
    engine = scheduler()
    engine.add(request("r", range(4), 5))
    run(engine)
    assert len(engine.cache.table()) == 2

    engine = scheduler()
    engine.add(request("r", range(4), 4))
    run(engine)
    assert len(engine.cache.table()) == 1


def test_blocks_are_announced_in_the_step_that_fills_them() -> None:
    """The prompt's blocks come with the first step, a generated block with the step that computes its end."""
    engine = scheduler()
    engine.add(request("r", range(7), 3))

    steps = run(engine)

    assert [len(step.events) for step in steps] == [1, 1, 0]


def test_requests_are_batched() -> None:
    """A request that comes while another decodes joins the next step."""
    engine = scheduler()
    engine.add(request("r", range(5), 3))
    engine.complete(engine.schedule())
    engine.add(request("s", range(100, 106), 1))

    step = engine.schedule()

    assert (names(step), step.prefill_tokens) == (["r", "s"], 6)


def test_long_prompt_is_chunked_and_decoding_goes_first() -> None:
    """A step computes at most the token budget; what runs already has precedence over new prompts."""
    engine = scheduler(budget=6)
    engine.add(request("r", range(3), 3))
    engine.complete(engine.schedule())
    engine.add(request("s", range(100, 112), 1))

    steps = run(engine)

    assert [(names(step), step.prefill_tokens) for step in steps] == [
        (["r", "s"], 5),
        (["r", "s"], 5),
        (["s"], 2),
    ]


def test_first_chunk_gives_no_token() -> None:
    """A token is generated only by the step that computes the end of the prompt."""
    engine = scheduler(budget=6)
    engine.add(request("r", range(10), 1))

    first = engine.complete(engine.schedule())
    second = engine.complete(engine.schedule())

    assert (first, [output.is_last for output in second]) == ([], [True])


def test_nothing_is_admitted_without_budget() -> None:
    """A step whose budget is used up leaves the next request waiting."""
    engine = scheduler(budget=6)
    engine.add(request("r", range(6), 1))
    engine.add(request("s", range(3), 1))

    assert [names(step) for step in run(engine)] == [["r"], ["s"]]


def test_seats_are_limited() -> None:
    """No more than the given number of requests run at once; the next waits for a seat."""
    engine = scheduler(seats=1)
    engine.add(request("r", range(3), 1))
    engine.add(request("s", range(3), 1))

    assert [names(step) for step in run(engine)] == [["r"], ["s"]]


def test_request_waits_for_blocks() -> None:
    """A prompt that does not fit waits, and those behind it with it: first come, first served."""
    engine = scheduler(capacity=4)
    engine.add(request("r", range(9), 2))
    engine.add(request("s", range(100, 108), 1))
    engine.add(request("t", range(4), 1))

    assert [names(step) for step in run(engine)] == [["r"], ["r"], ["s", "t"]]


def test_shared_prefix_is_found_by_the_next_request_of_the_same_step() -> None:
    """Blocks are cached as soon as they are scheduled."""
    engine = scheduler()
    r, s = request("r", range(9), 1), request("s", range(9), 1)
    engine.add(r)
    engine.add(s)

    step = engine.schedule()

    assert (r.cached_tokens, s.cached_tokens, step.prefill_tokens) == (0, 8, 10)


def test_latest_request_is_preempted_when_blocks_run_out() -> None:
    """The last admitted loses its blocks and waits in front; it is then computed again."""
    engine = scheduler(capacity=4)
    r, s, t = request("r", range(7), 4), request("s", range(100, 107), 6), request("t", range(3), 1)
    for one in (r, s, t):
        engine.add(one)

    steps = run(engine)

    assert [(names(step), step.preempted, step.prefill_tokens) for step in steps] == [
        (["r", "s"], 0, 14),
        (["r", "s"], 0, 0),
        (["r"], 1, 0),
        (["r"], 0, 0),
        (["s", "t"], 0, 8),
        (["s"], 0, 0),
        (["s"], 0, 0),
        (["s"], 0, 0),
    ]
    assert (len(r.tokens), len(s.tokens), len(t.tokens)) == (11, 13, 4)
    assert s.cached_tokens == 0


def test_aborted_request_gives_its_blocks_back() -> None:
    """A request whose client has gone frees its blocks at once and gives no more tokens."""
    engine = scheduler()
    running, waiting = request("r", range(9), 9), request("s", range(9), 9)
    engine.add(running)
    step = engine.schedule()
    engine.add(waiting)

    engine.abort(running)
    engine.abort(waiting)
    engine.abort(waiting)

    assert engine.complete(step) == []
    assert (engine.is_idle, engine.cache.free_blocks) == (True, 16)


def test_answer_depends_on_seed_model_and_prompt_alone() -> None:
    """The same request gives the same answer in any company; another seed, adapter or prompt another."""

    def answer(one: Request) -> list[int]:
        engine = scheduler()
        engine.add(request("other", range(3), 2))
        engine.add(one)
        run(engine)
        return one.tokens[one.prompt_tokens :]

    base = answer(request("r", range(9), 12))
    sql = CacheScope(lora_name="sql", lora_id=1)
    assert base == answer(request("x", range(9), 12))
    assert base not in (
        answer(request("r", range(9), 12, seed=1)),
        answer(request("r", range(9), 12, scope=sql)),
        answer(request("r", range(8), 12)),
    )
