"""What an engine is asked in order to know the tokens of a text."""

import json
from array import array

import pytest

from kvsync.gateway.text import Text, read_rendered, read_tokenized

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": 2}}}]

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": TOOLS, "temperature": 0.5}


def test_a_request_is_rendered_as_it_is() -> None:
    """Down to the order of keys in its tools, which templates write as they are given."""
    text = Text(CHAT, None)

    assert text.rendered_at == "/v1/chat/completions/render"
    assert json.dumps(json.loads(text.rendering())) == json.dumps(CHAT)


@pytest.mark.parametrize("value", ["\ud83d", 2**70, "ü\u2028", 1e300])
def test_what_engines_read_is_written(value: object) -> None:
    """Also what a strict writer of JSON refuses."""
    text = Text({"model": "m", "messages": [], "user_id": value}, None)

    assert json.loads(text.rendering())["user_id"] == value
    assert text.key


def test_of_several_prompts_the_first_is_asked_for() -> None:
    """The gateway routes by it alone."""
    text = Text({"model": "m", "prompt": ["a", "b"], "add_special_tokens": False}, "a")

    assert text.rendered_at == "/v1/completions/render"
    assert json.loads(text.rendering()) == {"model": "m", "prompt": "a", "add_special_tokens": False}
    assert json.loads(text.tokenizing()) == {"model": "m", "prompt": "a", "add_special_tokens": False}


@pytest.mark.parametrize(
    ("fields", "arguments"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"chat_template_kwargs": {"x": 1}}, {"x": 1}, id="its own"),
        pytest.param({"documents": [{"t": 1}]}, {"documents": [{"t": 1}]}, id="documents"),
        pytest.param(
            {"reasoning_effort": "low"},
            {"reasoning_effort": "low", "enable_thinking": True},
            id="effort",
        ),
        pytest.param(
            {"reasoning_effort": "none"},
            {"reasoning_effort": "none", "enable_thinking": False},
            id="no effort",
        ),
        pytest.param(
            {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}},
            {"reasoning_effort": "none", "enable_thinking": True},
            id="effort, and thinking by hand",
        ),
    ],
)
def test_what_the_template_is_given_by_tokenize(fields: dict[str, object], arguments: object) -> None:
    """As vLLM derives it from the fields of a chat."""
    asked = json.loads(Text({**CHAT, **fields}, None).tokenizing())

    assert asked.pop("chat_template_kwargs", None) == arguments
    assert asked == {name: CHAT[name] for name in ("model", "messages", "tools")}


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        pytest.param({}, [1, 2, 3], id="all"),
        pytest.param({"truncate_prompt_tokens": 2}, [2, 3], id="the end"),
        pytest.param({"truncate_prompt_tokens": 2, "truncation_side": "right"}, [1, 2], id="the beginning"),
        pytest.param({"truncate_prompt_tokens": 9}, [1, 2, 3], id="more than there are"),
        pytest.param({"truncate_prompt_tokens": -1}, [1, 2, 3], id="as many as fit"),
    ],
)
def test_what_truncation_leaves(fields: dict[str, object], left: list[int]) -> None:
    """`/tokenize` does not know it."""
    assert Text({**CHAT, **fields}, None).truncated([1, 2, 3]) == left


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        pytest.param({"temperature": 1, "seed": 7, "stream": True, "n": 2}, True, id="how it is answered"),
        pytest.param({"reasoning_effort": "low"}, False, id="effort"),
        pytest.param({"tools": [{"function": TOOLS[0]["function"], "type": "function"}]}, False, id="order"),
        pytest.param({"a_field_of_tomorrow": 1}, False, id="a field that is not known"),
    ],
)
def test_requests_that_have_the_same_tokens(fields: dict[str, object], same: bool) -> None:
    """In doubt they do not: a question too many costs less than wrong tokens."""
    assert (Text({**CHAT, **fields}, None).key == Text(CHAT, None).key) is same


def test_answers() -> None:
    """Of a conversation, of several prompts, and of `/tokenize`."""
    assert read_rendered({"token_ids": [1, 2]}) == array("I", [1, 2])
    assert read_rendered([{"token_ids": [1]}, {"token_ids": [2]}]) == array("I", [1])
    assert read_tokenized({"tokens": [1], "count": 1}) == array("I", [1])
