"""From the tokens of a prompt to the pod that serves it: hash, match, choose among 255 idle pods."""

import random
import time
from collections.abc import Sequence

from kvsync.events import Source
from kvsync.hashing import block_hashes
from kvsync.index import PrefixIndex
from kvsync.routing import Candidate, Choice, Policy, choose
from kvsync.testing.benchmarks.gauge import Gauge, feed, timed
from kvsync.testing.benchmarks.workload import BLOCK_SIZE, PromptTokens, encoded, prompts, stored
from kvsync.testing.results.measurement import Measurements

BLOCKS = 10_000
QUERIES = 100
TOKENS = range(50, 150)
PODS = [f"pod-{number:03}" for number in range(255)]
P99_GOAL_US = 5000


def test_prefixes_of_single_pods(rng: random.Random, rounds: int, measurements: Measurements) -> None:
    """Each query goes to the one pod that holds its prompt, with all its blocks matched."""
    index = PrefixIndex()
    holders: dict[PromptTokens, str] = {}
    while index.blocks_total < BLOCKS:
        (prompt,) = prompts(rng, 1, TOKENS)
        holders[prompt] = PODS[len(holders) % len(PODS)]
        _hold(index, holders[prompt], prompt)
    queries = rng.sample(list(holders), QUERIES)

    choices = _measure(index, queries, rounds, Gauge(measurements, "routing decision", {"shared": False}))

    assert [choice.pod for choice in choices] == [holders[prompt] for prompt in queries]
    assert [choice.matched_blocks for choice in choices] == [len(each) // BLOCK_SIZE for each in queries]


def test_prefixes_of_all_pods(rng: random.Random, rounds: int, measurements: Measurements) -> None:
    """Where every pod holds a part of every prefix, the one that holds it whole is chosen."""
    index = PrefixIndex()
    shared: list[PromptTokens] = []
    while index.blocks_total < BLOCKS:
        shared += prompts(rng, 1, TOKENS)
        for pod in PODS[1:]:
            _hold(index, pod, shared[-1][: rng.randrange(BLOCK_SIZE, len(shared[-1]) - BLOCK_SIZE)])
        _hold(index, PODS[0], shared[-1])
    queries = rng.choices(shared, k=QUERIES)

    choices = _measure(index, queries, rounds, Gauge(measurements, "routing decision", {"shared": True}))

    assert [choice.pod for choice in choices] == [PODS[0]] * QUERIES
    assert [choice.matched_blocks for choice in choices] == [len(each) // BLOCK_SIZE for each in queries]


def _hold(index: PrefixIndex, pod: str, prompt: PromptTokens) -> None:
    feed(index, Source(pod, "model"), encoded([stored(prompt)]))


def _measure(index: PrefixIndex, queries: Sequence[PromptTokens], rounds: int, gauge: Gauge) -> list[Choice]:
    """Decide for each query, many times; returns the choices of the last time."""
    rng = random.Random(0)
    laps: list[list[float]] = []
    choices: list[Choice] = []

    def decide_all() -> None:
        choices.clear()
        for prompt in queries:
            started = time.perf_counter()
            matched = index.match("model", "", block_hashes(prompt, BLOCK_SIZE))
            candidates = [Candidate(pod=pod, matched_blocks=matched.get(pod, 0)) for pod in PODS]
            choices.append(choose(candidates, Policy(), rng))
            laps[-1].append(time.perf_counter() - started)

    timings = []
    for _ in range(2 * rounds):
        laps.append([])
        timings.append(timed(decide_all))
    gauge.record_latencies("decision", laps, p99_goal_us=P99_GOAL_US)
    gauge.record_cost("decision", timings, len(queries))
    return choices
