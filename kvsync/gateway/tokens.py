"""Prompts as token ids: asked of an engine's or a separate `/tokenize`, and remembered for a while.

Only the engine's own tokenizer and chat template give the tokens that its cache is keyed by, hence vLLM's
`POST /tokenize` rather than a tokenizer in this process. A tokenizer that fails costs a request its prefix,
never its answer; one that does not answer is left alone for a moment, so that it does not slow down every
request by its time limit.
"""

import asyncio
import json
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import httpx
from xxhash import xxh3_128_digest

from kvsync.config import TokenizerConfig
from kvsync.errors import TokenizeError
from kvsync.gateway.completion import Prompt, Text, TokenIds

COOL_DOWN_S = 1.0
"""How long a tokenizer is left alone after it did not answer: short, since the next pod may answer again."""

ATTEMPTS = 2
"""How many pods are asked for one prompt; each may cost the time limit."""

CACHE_TOKENS = 4_000_000
"""Bound of the cache in token ids of 4 bytes: 16 MB, 80 prompts of 50 000 tokens."""


class TokenCache:
    """The token ids of recent texts, least recently used out first."""

    def __init__(self, max_entries: int, max_tokens: int = CACHE_TOKENS) -> None:
        self._max_entries = max_entries
        self._max_tokens = max_tokens
        self._entries: OrderedDict[bytes, TokenIds] = OrderedDict()
        self._tokens = 0

    def get(self, key: bytes) -> TokenIds | None:
        """Return what is kept under `key`, if anything, as most recently used."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: bytes, tokens: TokenIds) -> None:
        """Keep `tokens`, dropping older ones beyond the bounds."""
        self._tokens += len(tokens) - len(self._entries.pop(key, ()))
        self._entries[key] = tokens
        while self._tokens > self._max_tokens or len(self._entries) > self._max_entries:
            _, dropped = self._entries.popitem(last=False)
            self._tokens -= len(dropped)


class Tokenizer:
    """Asks `/tokenize` of the configured endpoint, or of the pods when there is none."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        config: TokenizerConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._config = config
        self._clock = clock
        self._cache = TokenCache(config.cache_entries)
        self._silent_until = -float("inf")

    async def tokens(self, prompt: Prompt, pods: Sequence[str]) -> TokenIds | None:
        """Return the token ids of a prompt, None when there is no tokenizer.

        `pods` are base URLs in order of preference. Raises TokenizeError when no tokenizer answered.
        """
        match prompt:
            case Text(fields=fields):
                return None if self._config.kind == "none" else await self._remember(fields, pods)
            case _:
                return prompt

    async def _remember(self, fields: Mapping[str, object], pods: Sequence[str]) -> TokenIds:
        question = json.dumps(fields, sort_keys=True).encode()
        key = xxh3_128_digest(question)
        known = self._cache.get(key)
        if known is None:
            endpoint = self._config.endpoint
            known = await self._ask(question, [endpoint] if endpoint else pods[:ATTEMPTS])
            self._cache.put(key, known)
        return known

    async def _ask(self, question: bytes, bases: Sequence[str]) -> TokenIds:
        if self._clock() < self._silent_until:
            raise TokenizeError("the tokenizer did not answer a moment ago")
        problems = []
        for base in bases:
            try:
                return await self._post(f"{base.rstrip('/')}/tokenize", question)
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as exc:
                problems.append(f"{base}: {exc or type(exc).__name__}")
        self._silent_until = self._clock() + COOL_DOWN_S
        raise TokenizeError("; ".join(problems) or "no pod to ask for tokens")

    async def _post(self, url: str, question: bytes) -> TokenIds:
        async with asyncio.timeout(self._config.timeout_s):
            answer = await self._client.post(
                url, content=question, headers={"content-type": "application/json"}, timeout=None
            )
        if answer.is_server_error:
            answer.raise_for_status()
        try:
            return array("I", answer.json()["tokens"])
        except (ValueError, KeyError, TypeError, OverflowError) as exc:
            raise TokenizeError(f"{url} answered {answer.status_code}: {answer.text[:200]}") from exc
