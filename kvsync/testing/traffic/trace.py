"""Requests to send: read from a recorded trace, or generated from a seed.

A recorded trace is in the format that Mooncake published with its paper (FAST '25): JSON lines with
`timestamp` (milliseconds), `input_length` and `output_length` (tokens) and `hash_ids`, one id per block of
512 tokens, the last of which may be partial. Equal ids stand for equal tokens after an equal prefix, so
tokens made from the ids alone share prefixes exactly as the recorded prompts did.
"""

import json
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

from kvsync.errors import ConfigError

TRACE_BLOCK = 512
"""Tokens per hash id of a recorded trace."""

_SYSTEM_PROMPTS = 4
_SYSTEM_TOKENS = (64, 256)
_TURN_TOKENS = (16, 128)
_TURNS = 6
"""The turns of a conversation, on average."""
_LONG = 1024
"""A conversation with this many tokens ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRequest:
    """A completion to ask for, `at_s` seconds after the start. `model` may be the name of a LoRA adapter."""

    number: int
    at_s: float
    model: str
    token_ids: tuple[int, ...]
    max_tokens: int
    cache_salt: str | None = None


def mooncake(path: Path, *, model: str, limit: int, max_tokens: int) -> list[TraceRequest]:
    """Read the first `limit` requests of a recorded trace; answers are cut to `max_tokens`.

    Raises ConfigError, with the line number, for a line that is not a request.
    """
    with path.open(encoding="utf-8-sig") as lines:
        return [
            _recorded(line, number, f"{path}:{number + 1}", model, max_tokens)
            for number, line in enumerate(islice(lines, limit))
        ]


def thinned(requests: Sequence[TraceRequest], every: int) -> list[TraceRequest]:
    """Keep one token of each so many: prompts share what they shared, and are sooner hashed."""
    return [replace(request, token_ids=request.token_ids[::every]) for request in requests]


def _recorded(line: str, number: int, origin: str, model: str, max_tokens: int) -> TraceRequest:
    try:
        record = json.loads(line)
        length, ids = int(record["input_length"]), [int(each) for each in record["hash_ids"]]
        at_s, answer = record["timestamp"] / 1000, int(record["output_length"])
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigError(origin, [f"no request of a trace: {type(exc).__name__}: {exc}"]) from exc
    if not 0 < length <= len(ids) * TRACE_BLOCK:
        raise ConfigError(origin, [f"input_length {length} does not fit {len(ids)} hash ids"])
    tokens = tuple(chain.from_iterable(_block(each) for each in ids))[:length]
    return TraceRequest(
        number=number, at_s=at_s, model=model, token_ids=tokens, max_tokens=max(1, min(answer, max_tokens))
    )


@lru_cache(maxsize=1024)
def _block(hash_id: int) -> tuple[int, ...]:
    """Make the tokens that a hash id stands for: always the same, below 65,536."""
    return tuple(array("H", random.Random(hash_id).randbytes(2 * TRACE_BLOCK)))  # noqa: S311 - no secret


def generate(
    seed: int, count: int, *, model: str, rate_per_s: float = 10.0, max_tokens: int = 8
) -> list[TraceRequest]:
    """Make conversations that share a few system prompts and grow with each turn, as chat traffic does.

    Arrivals are a Poisson process. A prefix of a longer list is the shorter list of the same seed.
    """
    rng = random.Random(seed)  # noqa: S311 - no secret
    systems = [_tokens(rng, _SYSTEM_TOKENS) for _ in range(_SYSTEM_PROMPTS)]
    conversations: list[tuple[int, ...]] = []
    requests: list[TraceRequest] = []
    at_s = 0.0
    for number in range(count):
        at_s += rng.expovariate(rate_per_s)
        if not conversations or rng.random() < 1 / _TURNS:
            conversations.append(rng.choice(systems))
        which = rng.randrange(len(conversations))
        prompt = conversations[which] + _tokens(rng, _TURN_TOKENS)
        conversations[which] = prompt
        if len(prompt) >= _LONG:
            conversations.pop(which)
        requests.append(
            TraceRequest(number=number, at_s=at_s, model=model, token_ids=prompt, max_tokens=max_tokens)
        )
    return requests


def _tokens(rng: random.Random, length: tuple[int, int]) -> tuple[int, ...]:
    return tuple(rng.randrange(1 << 16) for _ in range(rng.randint(*length)))
