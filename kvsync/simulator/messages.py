"""Anthropic's Messages as vLLM serves them: requests read as chats, answers written as messages. Pure."""

from collections.abc import Iterator, Mapping

from kvsync.simulator.openai import ApiError, Call, Json, ServedModels, bad_request, parse_chat
from kvsync.simulator.tokenizer import detokenize

_REASONS = {"length": "max_tokens", "stop": "end_turn"}

Event = tuple[str, Json]
"""The name of a stream's event, and what it holds."""


def parse(body: Json, card: ServedModels) -> Call:
    """Read the body of /v1/messages. Raises ApiError."""
    if body.get("max_tokens") is None:
        raise bad_request("max_tokens is required", "max_tokens")
    return parse_chat(as_chat(body), card)


def as_chat(body: Json) -> Json:
    """Return the request as a chat: `system` is its first message."""
    turns, system = body.get("messages"), body.get("system")
    if system is None or not isinstance(turns, list):
        return body
    return {**body, "messages": [{"role": "system", "content": system}, *turns]}


def message(call: Call, name: str, text: str, usage: Mapping[str, object]) -> Json:
    """Return a whole answer."""
    ended = {"content": [{"type": "text", "text": text}], "stop_reason": _REASONS[call.ending]}
    return {**_opening(call, name), **ended, "usage": of_anthropic(usage)}


def of_anthropic(usage: Mapping[str, object]) -> Json:
    """Return OpenAI's usage in Anthropic's terms, in which cached tokens are no input tokens."""
    details, prompt = usage["prompt_tokens_details"], usage["prompt_tokens"]
    told = {"input_tokens": prompt, "output_tokens": usage["completion_tokens"]}
    if not isinstance(details, dict) or not isinstance(prompt, int):
        return told
    cached = details["cached_tokens"]
    return {**told, "input_tokens": prompt - cached, "cache_read_input_tokens": cached}


def opening(call: Call, name: str) -> Iterator[Event]:
    """Give the events before the first token."""
    prompt = {"input_tokens": len(call.prompts[0]), "output_tokens": 0}
    yield "message_start", {"message": {**_opening(call, name), "usage": prompt}}
    yield "content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}


def part(token: int) -> Event:
    """Return the event of one token."""
    return "content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": detokenize([token])}}


def closing(call: Call, usage: Mapping[str, object]) -> Iterator[Event]:
    """Give the events after the last token."""
    yield "content_block_stop", {"index": 0}
    ending = {"stop_reason": _REASONS[call.ending], "stop_sequence": None}
    yield "message_delta", {"delta": ending, "usage": of_anthropic(usage)}
    yield "message_stop", {}


def error(exc: ApiError) -> Json:
    """Return an error as vLLM writes it here: Anthropic's shape with OpenAI's type."""
    return {"type": "error", "error": {"type": exc.kind, "message": str(exc)}}


def _opening(call: Call, name: str) -> Json:
    return {
        "id": name,
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
