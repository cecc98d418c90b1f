"""What a client got, in the same terms for every client and every interface. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`texts` are those of the answers, or of an embedding's vectors; `error` is what a refusal said.

    `broken` is how an answer broke off that had begun.
    `output_tokens` and `input_tokens` are those of the usage, None without one; cached ones are input, too.
    """

    status: int
    texts: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str = ""
    broken: str = ""


def read(got: Mapping[str, Any], path: str) -> Outcome:
    """Read a line of what a client prints. Raises ValueError, KeyError of what is no answer of this path."""
    events = got["events"] if "events" in got else _events(got["body"])
    if got["status"] not in (0, 200):
        return Outcome(status=got["status"], error=_refusal(events[0], path))
    texts: dict[int, str] = {}
    endings: dict[int, str] = {}
    for event in events:
        for index, text, ending in _parts(event):
            texts[index] = texts.get(index, "") + text
            if ending:
                endings[index] = ending
    usages = [usage for event in events if (usage := _usage(event))]
    return Outcome(
        status=got["status"],
        texts=tuple(text for _, text in sorted(texts.items())),
        endings=tuple(ending for _, ending in sorted(endings.items())),
        input_tokens=max((_input(usage) for usage in usages), default=None),
        output_tokens=max((_output(usage) for usage in usages), default=None),
        broken=got.get("broken", ""),
    )


def _events(body: str) -> Sequence[Event]:
    if body.startswith("{"):
        return [json.loads(body)]
    lines = [line[6:] for line in body.split("\n\n") for line in line.split("\n") if line[:6] == "data: "]
    return [json.loads(line) for line in lines if line != "[DONE]" and line.endswith("}")]


def _refusal(body: Event, path: str) -> str:
    """Return what an error says where the clients of this interface look for it."""
    if path.startswith("/v1/messages"):
        assert body["type"] == "error", body
        assert body["error"]["type"], body
    message = body["error"]["message"]
    assert isinstance(message, str), body
    return message


def _parts(event: Event) -> Iterator[tuple[int, str, str | None]]:
    """Give the parts of answers that an event has: number of the answer, text, why it ended."""
    for choice in event.get("choices", ()):
        said = choice.get("message") or choice.get("delta") or choice
        text = said.get("content") or said.get("text") or ""
        yield choice.get("index", 0), text, choice.get("finish_reason")
    for vector in event.get("data", ()):
        yield vector["index"], str([round(each, 4) for each in vector["embedding"]]), None
    match event.get("type") or event.get("object"):
        case "message":
            yield 0, "".join(part["text"] for part in event["content"]), event["stop_reason"]
        case "content_block_delta":
            yield 0, event["delta"].get("text") or event["delta"].get("thinking") or "", None
        case "message_delta":
            yield 0, "", event["delta"]["stop_reason"]
        case "response":
            said = [part.get("text", "") for item in event["output"] for part in item.get("content") or ()]
            yield 0, "".join(said), event["status"]
        case "response.output_text.delta":
            yield 0, event["delta"], None
        case "response.completed" | "response.incomplete":
            yield 0, "", event["response"]["status"]


def _usage(event: Event) -> Event | None:
    within = event.get("response") or event
    found: Event | None = within.get("usage") or (within if "input_tokens" in within else None)
    return found


def _input(usage: Event) -> int:
    if "prompt_tokens" in usage:
        return int(usage["prompt_tokens"])
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return sum(int(usage.get(name) or 0) for name in names)


def _output(usage: Event) -> int:
    return int(usage.get("completion_tokens") or usage.get("output_tokens") or 0)
