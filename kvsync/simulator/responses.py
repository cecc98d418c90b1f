"""OpenAI's Responses as vLLM serves them: requests read as chats, answers that can be asked for. Pure."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from kvsync.simulator.openai import ApiError, Call, Json, ServedModels, bad_request, parse_chat
from kvsync.simulator.tokenizer import detokenize

KEPT = 100
"""Answers that are kept for later; vLLM keeps all."""

Event = tuple[str, Json]
"""The name of a stream's event, and what it holds."""


class KeptResponses:
    """The last answers, by their id, each with the conversation that it ended."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Json, list[object]]] = OrderedDict()

    def put(self, response: Json, turns: list[object]) -> None:
        """Keep an answer, and the conversation up to it."""
        answer = {"role": "assistant", "content": text_of(response)}
        self._kept[str(response["id"])] = response, [*turns, answer]
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def find(self, name: object) -> tuple[Json, list[object]]:
        """Return an answer and its conversation. Raises ApiError 404."""
        if name not in self._kept:
            raise ApiError(404, "NotFoundError", f"Response with id '{name}' not found.", "response_id")
        return self._kept[str(name)]


def turns(body: Json, store: KeptResponses) -> list[object]:
    """Return the conversation that a request asks to go on with. Raises ApiError."""
    given, before = body.get("input"), body.get("previous_response_id")
    said = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(said, list):
        raise bad_request("input must be a text or a list of messages", "input")
    told = body.get("instructions")
    system = [] if told is None else [{"role": "system", "content": told}]
    return [*system, *(store.find(before)[1] if before is not None else []), *said]


def parse(body: Json, conversation: list[object], card: ServedModels) -> Call:
    """Read the body of /v1/responses, whose `conversation` is already known. Raises ApiError."""
    return parse_chat(
        {**body, "messages": conversation, "max_completion_tokens": body.get("max_output_tokens")}, card
    )


def response(call: Call, name: str, created: int, text: str | None, usage: Mapping[str, object]) -> Json:
    """Return an answer; without a `text` it has only begun."""
    begun: Json = {
        "id": name,
        "object": "response",
        "created_at": created,
        "model": call.model,
        "status": "in_progress",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    if text is None:
        return begun
    part = {"type": "output_text", "text": text, "annotations": []}
    output = {"id": f"msg_{name}", "type": "message", "role": "assistant", "status": "completed"}
    return {
        **begun,
        "status": "completed",
        "output": [{**output, "content": [part]}],
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": usage["prompt_tokens_details"] or {"cached_tokens": 0},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        },
    }


def text_of(whole: Json) -> str:
    """Return the text of an answer."""
    output = whole["output"]
    return "".join(str(part["text"]) for item in output for part in item["content"])  # type: ignore[attr-defined]


def opening(begun: Json) -> Iterator[Event]:
    """Give the events before the first token."""
    yield "response.created", {"response": begun}


def part(name: str, token: int) -> Event:
    """Return the event of one token."""
    where = {"item_id": f"msg_{name}", "output_index": 0, "content_index": 0}
    return "response.output_text.delta", {**where, "delta": detokenize([token]), "logprobs": []}


def closing(whole: Json) -> Iterator[Event]:
    """Give the events after the last token."""
    yield "response.completed", {"response": whole}
