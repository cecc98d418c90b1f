"""Prompts that are text: what an engine is asked to know their tokens, and what its answer means. Pure.

Only the engine knows which fields of a request its chat template sees, and in which order of keys. So it is
asked to render the request as it is, which vLLM offers (`POST /v1/chat/completions/render`, and the same for
completions). Where it does not, `/tokenize` is asked with the fields that vLLM derives from a chat
(build_chat_params of 0.32): documents and reasoning_effort are arguments of the template, and the latter
switches enable_thinking.
"""

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

TokenIds = Sequence[int]
Json = Mapping[str, object]

TOKENIZE_FIELDS = (
    "model",
    "messages",
    "add_generation_prompt",
    "add_special_tokens",
    "chat_template",
    "continue_final_message",
    "mm_processor_kwargs",
    "tools",
)
"""Fields of a request that `/tokenize` takes under the same name and with the same meaning."""

WITHOUT_EFFECT = frozenset(
    (
        "frequency_penalty",
        "ignore_eos",
        "logit_bias",
        "min_p",
        "min_tokens",
        "n",
        "presence_penalty",
        "repetition_penalty",
        "seed",
        "stop",
        "stop_token_ids",
        "stream",
        "stream_options",
        "temperature",
        "top_k",
        "top_p",
        "user",
    )
)
"""Fields that change the answer only: requests that differ in these have the same tokens."""


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt that a tokenizer must turn into token ids: the request that holds it.

    Of several prompts `prompt` is the first; None is a conversation. `path` is that of a request of another
    kind, which an engine can only render.
    """

    request: Json
    prompt: str | None
    path: str = ""

    @property
    def rendered_at(self) -> str:
        """The path under which vLLM renders such a request."""
        if self.path:
            return f"{self.path}/render"
        return "/v1/completions/render" if self.prompt is not None else "/v1/chat/completions/render"

    @property
    def key(self) -> bytes:
        """What the tokens depend on at most. Keys are not sorted: templates write tools as given."""
        shown = {name: value for name, value in self.request.items() if name not in WITHOUT_EFFECT}
        return self.path.encode() + _written(self._with_one_prompt(shown))

    def rendering(self) -> bytes:
        """Return the question to the path that renders requests."""
        return _written(self._with_one_prompt(self.request))

    def tokenizing(self) -> bytes:
        """Return the question to `/tokenize`."""
        fields = {name: self.request[name] for name in TOKENIZE_FIELDS if name in self.request}
        if arguments := self._template_arguments():
            fields["chat_template_kwargs"] = arguments
        return _written(self._with_one_prompt(fields))

    def truncated(self, tokens: TokenIds) -> TokenIds:
        """Return what `truncate_prompt_tokens` leaves of the tokens, which `/tokenize` does not know."""
        most = self.request.get("truncate_prompt_tokens")
        if not isinstance(most, int) or most < 1:
            return tokens
        return tokens[:most] if self.request.get("truncation_side") == "right" else tokens[-most:]

    def _with_one_prompt(self, fields: Json) -> Json:
        return fields if self.prompt is None else {**fields, "prompt": self.prompt}

    def _template_arguments(self) -> Json:
        given = self.request.get("chat_template_kwargs")
        arguments = dict(given) if isinstance(given, dict) else {}
        effort = self.request.get("reasoning_effort")
        if effort is not None and "enable_thinking" not in arguments:
            arguments["enable_thinking"] = effort != "none"
        for name in ("documents", "reasoning_effort"):
            if self.request.get(name) is not None:
                arguments[name] = self.request[name]
        return arguments


def _written(fields: Json) -> bytes:
    """Write JSON; what orjson is too strict for (long integers, half of a surrogate pair), as it was read."""
    try:
        return orjson.dumps(fields)
    except TypeError:
        return json.dumps(fields).encode()


_WORDS = ("text", "refusal", "input_text", "output_text")


def has_media(messages: object) -> bool:
    """Say whether a conversation holds images or the like: its tokens are not what blocks are hashed from."""
    turns = messages if isinstance(messages, list) else []
    contents = [turn.get("content") for turn in turns if isinstance(turn, dict)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(isinstance(part, dict) and part.get("type", "text") not in _WORDS for part in parts)


def read_rendered(answer: object) -> TokenIds:
    """Read the answer of `/render`. Raises ValueError, KeyError, TypeError, IndexError, OverflowError."""
    first = answer[0] if isinstance(answer, list) else answer
    return array("I", first["token_ids"])  # type: ignore[index]


def read_tokenized(answer: object) -> TokenIds:
    """Read the answer of `/tokenize`. Raises ValueError, KeyError, TypeError, OverflowError."""
    return array("I", answer["tokens"])  # type: ignore[index]
