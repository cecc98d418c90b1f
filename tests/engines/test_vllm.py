"""Predictions and the index against real vLLM servers: what they report, and their own block tables."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain

import httpx
import pytest

from kvsync.testing import Measurement, Void, wait_for
from kvsync.testing.traffic.sender import Answer
from kvsync.testing.traffic.trace import TraceRequest, generate
from tests.engines.servers import MODEL, READY_S
from tests.engines.site import ADAPTER, ANSWER_S, SETTLED_S, Site

pytestmark = pytest.mark.timeout(3 * READY_S)

REQUESTS = 300

SPECIAL, WORDS = 8, 480
"""Token ids of the model's vocabulary that are plain text: so many, from there on."""

Send = Callable[..., list[Answer]]
Note = Callable[[Measurement], None]


def requests(seed: int, count: int = 2 * REQUESTS) -> list[TraceRequest]:
    """Conversations of which a third of the turns go to the adapter, under the same prefixes."""
    rng = random.Random(seed)
    return [
        replace(
            each,
            model=rng.choice((MODEL, MODEL, ADAPTER)),
            token_ids=tuple(SPECIAL + token % WORDS for token in each.token_ids),
        )
        for each in generate(seed, count, model=MODEL, max_tokens=4)
    ]


def conversations(turns: Sequence[TraceRequest]) -> list[list[TraceRequest]]:
    """Sort turns by the conversation that they go on with, in order: each is sent after the last answer."""
    found: list[list[TraceRequest]] = []
    for turn in turns:
        for before in found:
            said = before[-1].token_ids
            if turn.token_ids[: len(said)] == said:
                before.append(turn)
                break
        else:
            found.append([turn])
    return found


def agreeing(answers: Sequence[Answer], what: str, note: Note) -> float:
    """Return the share of answers that report what was predicted, and note it model by model."""
    assert [answer.error for answer in answers if not answer.ok] == []
    for model in (MODEL, ADAPTER):
        those = [answer for answer in answers if answer.model == model]
        right = [answer for answer in those if answer.predicted == answer.cached_tokens]
        wrong = [answer for answer in those if answer.predicted != answer.cached_tokens]
        note(
            Measurement(
                name=f"vllm, {what}, {model}",
                metric="predicted as reported",
                value=100 * len(right) / len(those),
                unit="%",
                samples=len(those),
                better="higher",
                parameters={
                    "hits": sum(bool(answer.cached_tokens) for answer in those),
                    "over": sum((answer.predicted or 0) > (answer.cached_tokens or 0) for answer in wrong),
                    "under": sum((answer.predicted or 0) < (answer.cached_tokens or 0) for answer in wrong),
                },
            )
        )
    if sum(bool(answer.cached_tokens) for answer in answers) < len(answers) / 4:
        raise Void("fewer than a quarter of the prompts were cached")
    return sum(answer.predicted == answer.cached_tokens for answer in answers) / len(answers)


def test_requests_in_sequence(site: Site, send: Send, note: Note, seed: int) -> None:
    """Sent one after the other, every request finds in the cache what was predicted."""
    answers = send(requests(seed)[:REQUESTS])

    assert agreeing(answers, "one at a time", note) == 1.0


def test_requests_side_by_side(site: Site, send: Send, note: Note, seed: int) -> None:
    """With sixteen conversations at a time nearly all do: a few are decided before another's event came."""
    with ThreadPoolExecutor(16) as clients:
        answers = list(chain.from_iterable(clients.map(send, conversations(requests(seed)[REQUESTS:]))))

    assert agreeing(answers, "16 at a time", note) >= 0.97
    assert {name: each["doubt"] for name, each in site.predictions().items()} == {"a": "", "b": ""}


def test_evictions(site: Site, send: Send, note: Note, seed: int) -> None:
    """After more prompts than the caches hold, the index is each engine's own table."""
    send(requests(seed + 2, 100), workers=4)
    held, removed = site.compare_tables(), site.removals()
    if not removed:
        raise Void("nothing was evicted")

    _note_tables(note, "after evictions", held, removed=int(removed))


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_texts_are_made_tokens_as_the_engine_does_it(site: Site, path: str) -> None:
    """The second time a text or a conversation is sent, as much is cached as was predicted."""
    text = "the quick brown fox jumps over a lazy dog " * 20 + path
    asked: dict[str, object] = {"prompt": text}
    if "chat" in path:
        asked = {"messages": [{"role": "user", "content": text}]}
    found = []
    for _ in range(2):
        body = {"model": MODEL, "max_tokens": 2, **asked}
        answer = httpx.post(
            f"{site.url}{path}", json=body, timeout=ANSWER_S, trust_env=False
        ).raise_for_status()
        usage = answer.json()["usage"]["prompt_tokens_details"] or {}
        found.append((int(answer.headers["x-kvsync-predicted-cached-tokens"]), usage.get("cached_tokens", 0)))

    assert [predicted for predicted, _ in found] == [reported for _, reported in found]
    assert found[1][0] > 0


def test_a_late_gateway(site: Site, note: Note) -> None:
    """A gateway that knows nothing learns from the engines' rings what they hold."""
    site.start_gateway()

    _note_tables(note, "after a late join", site.compare_tables())


def test_a_killed_engine(site: Site, send: Send, note: Note, seed: int) -> None:
    """After SIGKILL and a new start the index holds what the new engine holds, and no more."""
    server = site.servers["a"]
    server.kill()
    wait_for(
        lambda: "a" not in site.view.routable(), what="the gateway misses the engine", timeout_s=SETTLED_S
    )
    server.start()
    server.await_ready()
    site.await_exact()
    empty = site.compare_tables()
    answers = send(requests(seed + 3, 60))

    assert empty["a"] == 0
    assert agreeing(answers, "after kill -9", note) == 1.0
    _note_tables(note, "after kill -9", site.compare_tables())


def _note_tables(note: Note, when: str, held: dict[str, int], **parameters: int) -> None:
    note(
        Measurement(
            name=f"vllm, {when}",
            metric="blocks in index and engine",
            value=sum(held.values()),
            unit="equal",
            samples=len(held),
            better="higher",
            parameters={**held, **parameters},
        )
    )
