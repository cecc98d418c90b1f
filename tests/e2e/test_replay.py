"""A stream of real or generated requests: at rest, predictions and caches agree."""

from pathlib import Path

import pytest

from kvsync.testing import Scenario
from kvsync.testing.scenarios.agreement import agreement
from kvsync.testing.traffic.sender import Answer, Sender
from kvsync.testing.traffic.trace import TraceRequest, generate, mooncake

pytestmark = pytest.mark.timeout(400)

SHARE = 0.99
REQUESTS = {"quick": 200, "full": 2000}
ANSWER_TOKENS = 4
"""Answers are kept short: they cost a step each and say little about prefixes."""
BLOCK_SIZE = 64
"""Prompts of a trace have 12,000 tokens on average; larger blocks make that affordable on two processors."""
CAPACITY = {"trace": 4096, "generated": 512}
"""Blocks per pod: each holds the longest prompt (126,195 tokens) twice, and evicts during the replay."""


@pytest.fixture
def requests(trace_path: Path | None, profile: str, seed: int) -> list[TraceRequest]:
    """A slice of the trace that was given, else generated requests."""
    count = REQUESTS[profile]
    if trace_path is None:
        return generate(seed, count, model="qwen", max_tokens=ANSWER_TOKENS)
    return mooncake(trace_path, model="qwen", limit=count, max_tokens=ANSWER_TOKENS)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("settings", [{"block_size": BLOCK_SIZE}], ids=["blocks of 64 tokens"])
def test_predictions_agree_with_caches(
    scenario: Scenario, requests: list[TraceRequest], trace_path: Path | None
) -> None:
    """With each request sent at rest, at least 99 % find exactly the cache that was predicted."""
    capacity = CAPACITY["generated" if trace_path is None else "trace"]
    scenario.cluster.deploy("qwen", 3, block_size=BLOCK_SIZE, capacity=capacity, time_scale=0.01)
    answers: list[Answer] = []
    with Sender(scenario.cluster.gateway_url, scenario.history) as sender:
        for request in requests:
            answers.append(sender.send(request))
            scenario.settle(answers[-1].pod)

    result = agreement(answers, scenario.cluster.announced(), in_flight_s=0)
    scenario.history.append(
        f="replay",
        requests=result.requests,
        agreeing=result.agreeing,
        explained=result.explained,
        cached_tokens=sum(answer.cached_tokens or 0 for answer in answers),
        prompt_tokens=sum(len(request.token_ids) for request in requests),
        source="generated" if trace_path is None else trace_path.name,
    )
    scenario.verify()
    assert list(result.unexplained) == []
    assert result.share >= SHARE, f"{result.agreeing} of {result.requests} agree: {result.explained}"
