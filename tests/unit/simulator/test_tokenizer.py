"""Text and conversations become tokens and text again."""

import pytest

from kvsync.simulator.tokenizer import apply_chat_template, detokenize, tokenize


def test_each_character_is_a_token() -> None:
    """Ids are code points."""
    assert tokenize("héy €😀") == [104, 233, 121, 32, 8364, 128512]


@pytest.mark.parametrize("text", ["", "hello world", "a\n\tb", "日本語 😀", "\x00"], ids=repr)
def test_text_comes_back(text: str) -> None:
    """What was tokenized is found again."""
    assert detokenize(tokenize(text)) == text


@pytest.mark.parametrize("token", [0xD800, 0x110000, 0x110001, 2**32 - 1], ids=hex)
def test_ids_that_are_no_character_become_a_replacement(token: int) -> None:
    """Halves of surrogate pairs, marks and numbers beyond Unicode cannot be shown."""
    assert detokenize([97, token]) == "a\ufffd"


def test_chat_template_marks_turns_and_opens_the_answer() -> None:
    """Each message is a marked turn that begins with its role; the answer's turn is open."""
    assert apply_chat_template([{"role": "user", "content": "hi"}]) == [
        0x110000,
        *(117, 115, 101, 114, 10, 104, 105),
        0x110001,
        0x110000,
        *(97, 115, 115, 105, 115, 116, 97, 110, 116, 10),
    ]


def test_next_turn_begins_with_the_tokens_of_this_one() -> None:
    """A conversation that goes on with the answer shares its tokens to the answer's end."""
    question = {"role": "user", "content": "hi"}
    asked = apply_chat_template([question])
    followed = apply_chat_template([question, {"role": "assistant", "content": "yes"}, question])

    assert followed[: len(asked) + 3] == asked + tokenize("yes")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hi", "hi"),
        (None, ""),
        ([{"type": "text", "text": "h"}, {"type": "image_url"}, {"type": "text", "text": "i"}], "hi"),
    ],
    ids=["text", "none", "parts"],
)
def test_content_may_be_text_parts_or_nothing(content: object, text: str) -> None:
    """Every form that the chat API allows is read; parts without text are left out."""
    tokens = apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=False)

    assert detokenize(tokens[1:-1]) == f"user\n{text}"
