"""The OpenAI and vLLM request and answer bodies, as values. Pure.

Unknown fields are ignored, as vLLM does; a field that is known must have the right type. Fields that change a
prompt's tokens or how its cache is used are honoured or refused, never ignored. Logprobs are never computed.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kvsync.errors import KVSyncError
from kvsync.simulator.blocks import READING, CacheScope, CacheUse
from kvsync.simulator.engine import FinishReason, Generation, Token
from kvsync.simulator.tokenizer import apply_chat_template, detokenize, tokenize

TEMPLATE_SETTINGS: Mapping[str, type] = {"tools": list, "documents": list, "reasoning_effort": str}
"""Fields of a chat besides its messages that the template sees, as it sees `chat_template_kwargs`."""

DEFAULT_MAX_TOKENS = 16
"""The length of an answer when the request names none: OpenAI's default for completions."""

MAX_COPIES = 128
"""The most answers to one prompt that OpenAI gives."""

Json = dict[str, object]
T = TypeVar("T")


class ApiError(KVSyncError):
    """A request that gets an error answer; `kind` is the error type as vLLM names it."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        self.status, self.kind, self.param = status, kind, param
        super().__init__(message)

    def body(self) -> Json:
        """The error as OpenAI clients expect it."""
        error = {"message": str(self), "type": self.kind, "param": self.param, "code": self.status}
        return {"error": error}


def bad_request(message: str, param: str | None = None) -> ApiError:
    """What is wrong with the client's request."""
    return ApiError(400, "BadRequestError", message, param)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModels:
    """The models that are served: one base model, and its LoRA adapters numbered from 1."""

    model: str
    loras: tuple[str, ...] = ()
    max_model_len: int

    def scope(self, model: object, salt: str | None) -> CacheScope:
        """What the blocks of a request for `model` depend on; no model means the base model."""
        if model is None or model == self.model:
            return CacheScope(salt=salt)
        if model not in self.loras:
            raise ApiError(404, "NotFoundError", f"The model `{model}` does not exist.", "model")
        name = str(model)
        return CacheScope(lora_name=name, lora_id=1 + self.loras.index(name), salt=salt)

    def listing(self, created: int) -> Json:
        """The body of /v1/models."""
        names = [(self.model, None), *((lora, self.model) for lora in self.loras)]
        models = [
            {
                "id": name,
                "object": "model",
                "created": created,
                "owned_by": "kvsync",
                "root": name,
                "parent": parent,
                "max_model_len": self.max_model_len,
            }
            for name, parent in names
        ]
        return {"object": "list", "data": models}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request for answers: `copies` of an answer to each of `prompts`."""

    model: str
    prompts: tuple[Sequence[int], ...]
    copies: int
    scope: CacheScope
    max_tokens: int
    ending: FinishReason
    stream: bool
    include_usage: bool
    is_chat: bool
    use: CacheUse = READING

    def work(self) -> list[Generation]:
        """One prompt per choice of the answer, in the order of the choices' indexes."""
        return [
            Generation(
                token_ids=prompt,
                scope=self.scope,
                max_tokens=self.max_tokens,
                ending=self.ending,
                use=self.use,
            )
            for prompt in self.prompts
            for _ in range(self.copies)
        ]

    def usage(self, cached_tokens: Mapping[int, int]) -> Json:
        """Token counts; `cached_tokens` by choice. A prompt counts once, however many copies it has."""
        prompt = sum(map(len, self.prompts))
        answer = len(self.prompts) * self.copies * self.max_tokens
        cached = sum(n for index, n in cached_tokens.items() if index % self.copies == 0)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
            "prompt_tokens_details": {"cached_tokens": cached},
        }


def parse_completion(body: Json, card: ServedModels) -> Call:
    """Read the body of /v1/completions. Raises ApiError."""
    given = prompts(body.get("prompt"), "prompt")
    return _call(body, card, given, _field(body, "max_tokens", int, None), is_chat=False)


def parse_chat(body: Json, card: ServedModels) -> Call:
    """Read the body of /v1/chat/completions. Raises ApiError."""
    limit = _field(body, "max_completion_tokens", int, None) or _field(body, "max_tokens", int, None)
    return _call(body, card, (tokens_of_chat(body),), limit, is_chat=True)


def tokens_of_chat(body: Json, settings: Iterable[str] = TEMPLATE_SETTINGS) -> list[int]:
    """The templated tokens of `messages`, with the given ones of the `settings`. Raises ApiError."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise bad_request("messages must be a list of at least one message", "messages")
    for position, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise bad_request(f"messages[{position}] must be an object with a role", "messages")
        _require_text(position, message.get("content"))
    if body.get("chat_template") is not None:
        raise bad_request("chat_template: the template of a request is not trusted", "chat_template")
    opens = bool(_field(body, "add_generation_prompt", bool, True))
    continues = bool(_field(body, "continue_final_message", bool, False))
    if opens and continues:
        raise bad_request(
            "continue_final_message needs add_generation_prompt to be false", "continue_final_message"
        )
    return apply_chat_template(
        messages,
        add_generation_prompt=opens,
        continue_final_message=continues,
        settings=_template_settings(body, settings),
    )


def tokens_of_text(body: Json) -> list[int]:
    """The tokens of the text `prompt`. Raises ApiError."""
    prompt = body.get("prompt")
    if not isinstance(prompt, str):
        raise bad_request("prompt must be a text", "prompt")
    return tokenize(prompt)


def ids(raw: object, param: str) -> Sequence[int]:
    """Check a list of token ids: unsigned 32-bit integers. Raises ApiError."""
    if not isinstance(raw, list):
        raise bad_request(f"{param} must be a list of token ids", param)
    layout = f"<{len(raw)}I"
    try:
        return struct.unpack(layout, struct.pack(layout, *raw))
    except struct.error as exc:
        raise bad_request(f"{param}: token ids are integers from 0 to 2^32-1: {exc}", param) from exc


def completion(call: Call, name: str, created: int, answers: Sequence[Sequence[int]]) -> Json:
    """The body of a whole answer, without its usage; `answers` by choice."""
    choices = [
        {
            "index": index,
            **_whole(call, detokenize(answer)),
            "logprobs": None,
            "finish_reason": call.ending,
            "stop_reason": None,
        }
        for index, answer in enumerate(answers)
    ]
    kind = "chat.completion" if call.is_chat else "text_completion"
    return _envelope(kind, call, name, created, choices)


def opening(call: Call, name: str, created: int) -> list[Json]:
    """The chunks before the first token: in a chat, one per choice that names the role."""
    if not call.is_chat:
        return []
    return [
        _chunk(call, name, created, index, {"delta": {"role": "assistant", "content": ""}}, None)
        for index in range(len(call.prompts) * call.copies)
    ]


def chunk(call: Call, name: str, created: int, token: Token) -> Json:
    """The chunk of a streamed answer that carries one token."""
    text = detokenize([token.token])
    part: Json = {"delta": {"content": text}} if call.is_chat else {"text": text}
    return _chunk(call, name, created, token.index, part, token.ending)


def closing(call: Call, name: str, created: int, usage: Json) -> Json:
    """The chunk without choices that carries the usage."""
    kind = "chat.completion.chunk" if call.is_chat else "text_completion"
    return {**_envelope(kind, call, name, created, []), "usage": usage}


def _call(
    body: Json,
    card: ServedModels,
    prompts: tuple[Sequence[int], ...],
    max_tokens: int | None,
    *,
    is_chat: bool,
) -> Call:
    scope = card.scope(_field(body, "model", str, None), _salt(body))
    prompts = tuple(_truncated(body, prompt, card.max_model_len) for prompt in prompts)
    options = _field(body, "stream_options", dict, None) or {}
    copies = _field(body, "n", int, None) or 1
    longest = max(map(len, prompts))
    if max_tokens is None:
        length = max(1, min(DEFAULT_MAX_TOKENS, card.max_model_len - longest))
    else:
        length = max_tokens
    if length < 1:
        raise bad_request(f"max_tokens must be at least 1, got {length}", "max_tokens")
    if not 1 <= copies <= MAX_COPIES:
        raise bad_request(f"n must be from 1 to {MAX_COPIES}, got {copies}", "n")
    if longest + length > card.max_model_len:
        raise bad_request(
            f"This model's maximum context length is {card.max_model_len} tokens. However, you requested "
            f"{longest + length} tokens ({longest} in the prompt, {length} in the completion). "
            "Please reduce the length of the prompt or completion.",
            "prompt",
        )
    return Call(
        model=scope.lora_name or card.model,
        prompts=prompts,
        copies=copies,
        scope=scope,
        max_tokens=length,
        ending="stop" if is_chat and max_tokens is None else "length",
        stream=bool(_field(body, "stream", bool, None)),
        include_usage=options.get("include_usage") is True,
        is_chat=is_chat,
        use=_use(body, is_chat=is_chat),
    )


def _use(body: Json, *, is_chat: bool) -> CacheUse:
    """How a request uses the cache; to tell the logprobs of a prompt all of it has to be computed."""
    asked = _field(body, "prompt_logprobs", int, None)
    if asked is None and _field(body, "echo", bool, False):
        asked = _field(body, "top_logprobs", int, 0) if is_chat else _field(body, "logprobs", int, None)
    extra = _field(body, "vllm_xargs", dict, None) or {}
    return CacheUse(reads=asked is None, reports_hits=extra.get("kv_cache_report_mode") == "full")


def _truncated(body: Json, prompt: Sequence[int], longest: int) -> Sequence[int]:
    """The part of a prompt that `truncate_prompt_tokens` leaves, from its end if not said otherwise."""
    kept = _field(body, "truncate_prompt_tokens", int, None)
    if kept is None:
        return prompt
    if not -1 <= kept <= longest or kept == 0:
        raise bad_request(
            f"truncate_prompt_tokens must be -1 or from 1 to {longest}, got {kept}", "truncate_prompt_tokens"
        )
    side = _field(body, "truncation_side", str, "left")
    if side not in ("left", "right"):
        raise bad_request(f"truncation_side must be left or right, got {side!r}", "truncation_side")
    kept = longest - 1 if kept == -1 else kept
    return prompt[:kept] if side == "right" else prompt[-kept:]


def _template_settings(body: Json, names: Iterable[str]) -> Json:
    given = {name: _field(body, name, TEMPLATE_SETTINGS[name], None) for name in names}
    settings: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    arguments = _field(body, "chat_template_kwargs", dict, None) or {}
    if "reasoning_effort" in settings and "enable_thinking" not in arguments:
        settings["enable_thinking"] = settings["reasoning_effort"] != "none"  # as vLLM derives it
    return {**arguments, **settings}


def _require_text(position: int, content: object) -> None:
    """Refuse images and the like, as the engine of a model without them does."""
    parts = content if isinstance(content, list) else []
    kinds = [part.get("type") for part in parts if isinstance(part, dict) and "text" not in part]
    if kinds:
        raise bad_request(f"messages[{position}]: {kinds[0]} is nothing that this model takes", "messages")


def prompts(raw: object, param: str) -> tuple[Sequence[int], ...]:
    """Read one prompt or several, each a text or a list of token ids. Raises ApiError."""
    match raw:
        case str():
            found: tuple[Sequence[int], ...] = (tokenize(raw),)
        case [int(), *_]:
            found = (ids(raw, param),)
        case [*many] if many:
            found = tuple(tokenize(one) if isinstance(one, str) else ids(one, param) for one in many)
        case _:
            found = ()
    if not found or not all(found):
        raise bad_request(
            f"{param} must be a text, a list of token ids or a list of either, not empty", param
        )
    return found


def _salt(body: Json) -> str | None:
    salt = _field(body, "cache_salt", str, None)
    # Only what UTF-8 can carry can be announced; JSON also knows halves of surrogate pairs.
    if salt is not None and not salt.encode("utf-8", "ignore"):
        raise bad_request("cache_salt must be a text that is not empty", "cache_salt")
    return salt


def _field(body: Json, name: str, kind: type[T], default: T | None) -> T | None:
    """A field of the given type, or the default when it is missing or null. Raises ApiError."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise bad_request(f"{name} must be of type {kind.__name__}, not {type(value).__name__}", name)
    return value


def _whole(call: Call, text: str) -> Json:
    if call.is_chat:
        return {"message": {"role": "assistant", "content": text, "refusal": None, "tool_calls": []}}
    return {"text": text}


def _chunk(call: Call, name: str, created: int, index: int, part: Json, ending: FinishReason | None) -> Json:
    kind = "chat.completion.chunk" if call.is_chat else "text_completion"
    choice = {"index": index, **part, "logprobs": None, "finish_reason": ending}
    return _envelope(kind, call, name, created, [choice])


def _envelope(kind: str, call: Call, name: str, created: int, choices: Sequence[Json]) -> Json:
    return {"id": name, "object": kind, "created": created, "model": call.model, "choices": list(choices)}
