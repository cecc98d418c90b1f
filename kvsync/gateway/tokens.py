"""Prompts as token ids: asked of an engine or of a separate tokenizer, and remembered for a while.

Only the engine's own tokenizer and chat template give the tokens that its cache is keyed by, hence a question
to it (see text) rather than a tokenizer in this process. A tokenizer that fails costs a request its prefix,
never its answer, and a bounded time; one that does not answer is left alone for a moment. Equal questions are
asked once.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType

from xxhash import xxh3_128_digest

from kvsync.access.peers import Headers, PeerClient, PeerError, Reply
from kvsync.config import TokenizerConfig
from kvsync.errors import TokenizeError
from kvsync.gateway.completion import Prompt
from kvsync.gateway.text import Text, TokenIds, read_rendered, read_tokenized

COOL_DOWN_S = 5.0
"""How long a tokenizer is left alone after it did not answer; others are asked meanwhile."""

LONG_BYTES = 65_536
"""A request of this size may need more than its time; that says nothing about the tokenizer."""

RENDER_AGAIN_S = 300.0
"""For how long an engine that could not render requests is only asked to tokenize; it may be replaced."""

ATTEMPTS = 2
"""How many pods are asked for one prompt; each has its part of the time."""

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
    """Asks the configured endpoint, or the pods when there is none."""

    def __init__(
        self,
        client: PeerClient,
        config: TokenizerConfig,
        key: Mapping[str, str] = MappingProxyType({}),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make one; `key` has the headers that let it in where the client has none."""
        self._client = client
        self._config = config
        self._key = key
        self._clock = clock
        self._cache = TokenCache(config.cache_entries)
        self._asked: dict[bytes, asyncio.Task[TokenIds | None]] = {}
        self._silent_until: dict[str, float] = {}
        self._only_tokenize_until: dict[str, float] = {}

    async def tokens(self, prompt: Prompt, pods: Sequence[str], credentials: Headers = ()) -> TokenIds | None:
        """Return the token ids of a prompt, None when there is no tokenizer for it.

        `pods` are base URLs in order of preference; `credentials` are the client's headers that let it in.
        Raises TokenizeError when no tokenizer answered.
        """
        match prompt:
            case Text():
                return (
                    None if self._config.kind == "none" else await self._remember(prompt, pods, credentials)
                )
            case _:
                return prompt

    async def _remember(self, text: Text, pods: Sequence[str], credentials: Headers) -> TokenIds | None:
        content = text.key
        key = xxh3_128_digest(content)
        known = self._cache.get(key)
        if known is not None:
            return known
        if key not in self._asked:
            bases = [self._config.endpoint.rstrip("/")] if self._config.endpoint else pods
            is_long = len(content) >= LONG_BYTES
            ask = self._ask(key, text, bases, credentials, is_long=is_long)
            self._asked[key] = task = asyncio.create_task(ask)
            task.add_done_callback(lambda done: self._answered(key, done))
        # One of several that wait may hang up; the answer is still for the others.
        return await asyncio.shield(self._asked[key])

    def _answered(self, key: bytes, done: "asyncio.Task[TokenIds | None]") -> None:
        del self._asked[key]
        if not done.cancelled():
            done.exception()  # it is for those that wait, if any still does

    async def _ask(
        self, key: bytes, text: Text, bases: Sequence[str], credentials: Headers, *, is_long: bool
    ) -> TokenIds | None:
        now, problems = self._clock(), []
        able = [base for base in bases if self._silent_until.get(base, now) <= now]
        for base in able[:ATTEMPTS]:
            try:
                async with asyncio.timeout(self._config.timeout_s / ATTEMPTS):
                    tokens = await self._ask_one(base, text, credentials)
            except (PeerError, _ServerError, TimeoutError) as exc:
                if not (is_long and isinstance(exc, TimeoutError)):
                    self._silent_until[base] = self._clock() + COOL_DOWN_S
                problems.append(f"{base}: {str(exc) or type(exc).__name__}")
            else:
                if tokens is not None:
                    self._cache.put(key, tokens)
                return tokens
        silent = "no tokenizer answered a moment ago" if bases else "no pod to ask for tokens"
        raise TokenizeError("; ".join(problems) or silent)

    async def _ask_one(self, base: str, text: Text, credentials: Headers) -> TokenIds | None:
        if self._only_tokenize_until.get(base, 0.0) <= self._clock():
            answer = await self._post(base + text.rendered_at, text.rendering(), credentials)
            if not _is_missing(answer):
                return _read(answer, read_rendered)
            self._only_tokenize_until[base] = self._clock() + RENDER_AGAIN_S
        if text.path:
            return None
        answer = await self._post(f"{base}/tokenize", text.tokenizing(), credentials)
        return text.truncated(_read(answer, read_tokenized))

    async def _post(self, url: str, question: bytes, credentials: Headers) -> Reply:
        has_key = any(name == b"authorization" for name, _ in credentials)
        own = [] if has_key else [(name.encode(), value.encode()) for name, value in self._key.items()]
        headers = [*own, *credentials, (b"content-type", b"application/json")]
        answer = await self._client.ask("POST", url, content=question, headers=headers)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not _is_missing(answer):
            raise _ServerError(f"{url} answered {answer.status}: {answer.text[:200]}")
        return answer


class _ServerError(Exception):
    """A tokenizer that fails: it is left alone for a moment."""


def _is_missing(answer: Reply) -> bool:
    """Say whether the path is not served: a 404 that holds an error speaks of the model instead.

    vLLM 0.32 answers 403 unless it was started with --enable-scale-out.
    """
    status = answer.status
    return status in (403, 405, 501) or (status == 404 and b'"error"' not in answer.content)


def _read(answer: Reply, read: Callable[[object], TokenIds]) -> TokenIds:
    url, status = answer.url, answer.status
    if status in (401, 403):
        raise TokenizeError(f"{url} answered {status}: it wants a key: the client's, or upstream.api_key")
    try:
        return read(answer.json())
    except (ValueError, KeyError, TypeError, IndexError, OverflowError) as exc:
        raise TokenizeError(f"{url} answered {status}: {answer.text[:200]}") from exc
