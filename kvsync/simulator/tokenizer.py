"""Text to token ids and back, without a vocabulary: one token per character.

A token id is the character's code point, so a text and any text that begins with it share tokens exactly,
and a generated answer sent back in the next turn gives the tokens that were generated. The chat template's
marks are ids above all characters. Real vocabularies pack about four characters into a token.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

TURN_START = 0x110000
TURN_END = 0x110001
REPLACEMENT = "\ufffd"


def tokenize(text: str) -> list[int]:
    """One id per character."""
    return [ord(character) for character in text]


def detokenize(token_ids: Iterable[int]) -> str:
    """The text of the ids; an id that is not a character becomes U+FFFD."""
    return "".join(map(_character, token_ids))


def apply_chat_template(
    messages: Sequence[Mapping[str, object]],
    *,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
    settings: Mapping[str, object] | None = None,
) -> list[int]:
    """The tokens of a conversation, one marked turn per message, open at the end for the answer.

    A message has a `role` and a `content`: text, a list of parts with `text`, or None. Each of the
    `settings`, such as tools, is a turn of its own before them, as JSON with its keys in their order.
    """
    tokens: list[int] = []
    for name, value in sorted((settings or {}).items()):
        tokens += [TURN_START, *tokenize(f"{name}\n{json.dumps(value)}"), TURN_END]
    for message in messages:
        turn = f"{message['role']}\n{_text_of(message.get('content'))}"
        tokens += [TURN_START, *tokenize(turn), TURN_END]
    if continue_final_message:
        tokens.pop()
    if add_generation_prompt:
        tokens += [TURN_START, *tokenize("assistant\n")]
    return tokens


def _character(token: int) -> str:
    is_surrogate = 0xD800 <= token < 0xE000
    return chr(token) if token < TURN_START and not is_surrogate else REPLACEMENT


def _text_of(content: object) -> str:
    match content:
        case str():
            return content
        case list():
            return "".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
        case _:
            return ""
