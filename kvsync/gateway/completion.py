"""What a client asks for: the part of an OpenAI completion request that matters for routing it.

The body itself goes to the pod byte for byte, but for an argument that would mislead a reader of the
engine's events. What the gateway does not understand is for the engine
to judge: it is passed on without a prefix rather than refused.
"""

import json
import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from kvsync.gateway.answers.usage import COMPLETIONS, MESSAGES, RESPONSES, UsageTerms
from kvsync.gateway.text import Text, TokenIds, has_media

_ESCAPED_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of a surrogate pair: without its other half it is not a character, and cannot be encoded."""

XARGS, REPORT_MODE = "vllm_xargs", "kv_cache_report_mode"
"""With `full` as its value, vLLM (0.26 on) announces the blocks that a request finds as if they were new."""


Prompt = Text | TokenIds | None
"""Text, token ids, or None for a prompt whose tokens the gateway cannot know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One request as far as routing needs it. `prompts` says how many it has; `prompt` is the first.

    `answers` is how many each prompt gets. `reads_cache` is False for a request for which the engine computes
    the whole prompt, whatever it holds. `usage` says in which terms the answer reports cached tokens, if it
    does. `lora` is only given by index queries. `is_stored` says whether the engine may keep the answer, and
    `goes_on` with which of those that it keeps the request goes on.
    """

    model: str
    prompt: Prompt
    prompts: int = 1
    answers: int = 1
    reads_cache: bool = True
    usage: UsageTerms | None = COMPLETIONS
    stream: bool = False
    cache_salt: str | None = None
    lora: str | None = None
    wants_report: bool = False
    is_stored: bool = False
    goes_on: str | None = None
    asks_for_usage: bool = False


COMPLETION_PATHS = ("/v1/completions", "/v1/chat/completions")

OTHER_PATHS = (
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/v2/embed",
    "/v1/rerank",
    "/v2/rerank",
    "/rerank",
    "/v1/score",
    "/score",
    "/pooling",
    "/classify",
    "/tokenize",
    "/detokenize",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/audio/speech",
)
"""What engines serve besides completions, each request by itself."""

RENDERED = {"/v1/responses": ("input", RESPONSES), "/v1/messages": ("messages", MESSAGES)}
"""Those of which vLLM can say the tokens (`/render`): where they hold what was said, how they count."""

_FIELD = re.compile(
    rb'form-data; *name="?(model|stream)"?\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*)\r\n', re.IGNORECASE
)
"""A field of a form that matters here: a form with audio is too large to be taken apart for them."""


def parse_other(body: bytes, path: str, content_type: str) -> Completion:
    """Read a request of another kind, which may name no model: it is then "".

    Raises ValueError saying what is wrong.
    """
    if content_type.lower().startswith("multipart/form-data"):
        form = {name.lower(): value.decode(errors="replace") for name, value in _FIELD.findall(body)}
        streams = form.get(b"stream", "").lower() == "true"
        return Completion(model=form.get(b"model", ""), prompt=None, stream=streams, usage=None)
    request = _json_object(body)
    model = request.get("model") or ""
    if not isinstance(model, str):
        raise ValueError("`model` must be the name of a model")
    field, usage = RENDERED.get(path, ("", None))
    said = request.get(field)
    goes_on = _text(request.get("previous_response_id"))
    # What went before is known to the pod alone, which does not tell its tokens (vLLM 0.32).
    is_whole = said is not None and not has_media(said) and goes_on is None
    return Completion(
        model=model,
        prompt=Text(request, None, path) if is_whole else None,
        stream=request.get("stream") is True,
        cache_salt=_text(request.get("cache_salt")),
        usage=usage,
        is_stored=path == "/v1/responses" and request.get("store") is not False,
        goes_on=goes_on,
        wants_report=_wants_report(request),
    )


def parse(body: bytes) -> Completion:
    """Read a completion, chat completion or index query. Raises ValueError saying what is wrong."""
    request = _json_object(body)
    model = request.get("model")
    if not isinstance(model, str) or not model:
        raise ValueError("`model` must be the name of a model")
    prompt = request.get("prompt", request.get("token_ids"))
    batch = prompt if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list) else [prompt]
    return Completion(
        model=model,
        prompt=_prompt(request, batch[0]),
        prompts=len(batch),
        answers=max(_count(request.get("n")), _count(request.get("best_of"))),
        reads_cache=_reads_cache(request),
        stream=request.get("stream") is True,
        cache_salt=_text(request.get("cache_salt")),
        lora=_text(request.get("lora")),
        wants_report=_wants_report(request),
        asks_for_usage=_asks_for_usage(request),
    )


def _json_object(body: bytes) -> Mapping[str, object]:
    try:
        request = _loads(body)
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"the body is not valid JSON: {exc}") from exc
    if not isinstance(request, dict):
        raise ValueError("the body must be a JSON object")
    return request


def _loads(body: bytes) -> object:
    """Read JSON; what orjson is too strict for (NaN, UTF-16), as the engines' own parser does."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        request = json.loads(body)
        if _ESCAPED_HALF.search(body):
            json.dumps(request, ensure_ascii=False).encode()
        return request


def without_report(body: bytes) -> bytes:
    """Return the body of a request without the argument by which it `wants_report`."""
    request = json.loads(body)
    del request[XARGS][REPORT_MODE]
    return json.dumps(request).encode()


def _wants_report(request: Mapping[str, object]) -> bool:
    extra = request.get(XARGS)
    return isinstance(extra, dict) and REPORT_MODE in extra


def _asks_for_usage(request: Mapping[str, object]) -> bool:
    options = request.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _count(value: object) -> int:
    return value if isinstance(value, int) else 1


def _reads_cache(request: Mapping[str, object]) -> bool:
    """Say whether the engine looks for the prompt in its cache: not if it is to tell the prompt's logprobs.

    With `echo` they are asked for by `logprobs`, in a chat by `top_logprobs`, which is 0 by default (vLLM).
    """
    if request.get("prompt_logprobs") is not None:
        return False
    is_chat = request.get("messages") is not None
    asked = request.get("top_logprobs", 0) if is_chat else request.get("logprobs")
    return request.get("echo") is not True or asked is None


def _prompt(request: Mapping[str, object], prompt: object) -> Prompt:
    if request.get("messages") is not None:
        return None if has_media(request["messages"]) else Text(request, None)
    return Text(request, prompt) if isinstance(prompt, str) else _token_ids(prompt)


def _token_ids(prompt: object) -> TokenIds | None:
    try:
        return array("I", prompt) if isinstance(prompt, list) else None
    except (TypeError, OverflowError):
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
