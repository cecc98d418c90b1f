"""Request bodies become calls, and wrong ones errors that OpenAI clients understand."""

import pytest

from kvsync.simulator.blocks import CacheScope, CacheUse
from kvsync.simulator.openai import ApiError, Call, Json, ServedModels, ids, parse_chat, parse_completion
from kvsync.simulator.tokenizer import apply_chat_template

CARD = ServedModels(model="base", loras=("sql", "chat"), max_model_len=100)
MESSAGES = [{"role": "user", "content": "hi"}]


def test_completion_has_openai_defaults() -> None:
    """A bare prompt is answered by the base model with 16 tokens, in one piece."""
    assert parse_completion({"prompt": "hi"}, CARD) == Call(
        model="base",
        prompts=([104, 105],),
        copies=1,
        scope=CacheScope(),
        max_tokens=16,
        ending="length",
        stream=False,
        include_usage=False,
        is_chat=False,
    )


@pytest.mark.parametrize(
    ("raw", "prompts"),
    [
        ("hi", ([104, 105],)),
        ([1, 2, 3], ((1, 2, 3),)),
        (["a", "b"], ([97], [98])),
        ([[1, 2], [3]], ((1, 2), (3,))),
        ([[1, True], "a"], ((1, 1), [97])),
    ],
    ids=["text", "ids", "texts", "id lists", "mixed"],
)
def test_prompt_may_be_text_or_ids_or_several(raw: object, prompts: tuple[object, ...]) -> None:
    """Every form of OpenAI's `prompt` is read."""
    assert parse_completion({"prompt": raw}, CARD).prompts == prompts


def test_chat_answer_of_open_length_ends_by_itself() -> None:
    """Without a limit a chat answer stops; with one it is as long as the limit."""
    open_ended = parse_chat({"messages": MESSAGES}, CARD)
    limited = parse_chat({"messages": MESSAGES, "max_tokens": 3, "max_completion_tokens": 4}, CARD)

    assert (open_ended.max_tokens, open_ended.ending) == (16, "stop")
    assert (limited.max_tokens, limited.ending) == (4, "length")
    assert open_ended.prompts == (apply_chat_template(MESSAGES),)


def test_adapter_and_salt_make_the_scope() -> None:
    """A LoRA is asked for by its name, and numbered in the order given."""
    call = parse_completion({"prompt": "hi", "model": "chat", "cache_salt": "tenant"}, CARD)

    assert (call.model, call.scope) == ("chat", CacheScope(lora_name="chat", lora_id=2, salt="tenant"))


def test_options_are_read() -> None:
    """Streaming, usage in the stream, and copies."""
    body: Json = {"prompt": "hi", "stream": True, "stream_options": {"include_usage": True}, "n": 3}
    call = parse_completion(body, CARD)

    assert (call.stream, call.include_usage, len(call.work())) == (True, True, 3)


def test_default_length_shrinks_to_what_fits() -> None:
    """A long prompt without a limit gets the room that is left."""
    assert parse_completion({"prompt": [1] * 90}, CARD).max_tokens == 10


def test_usage_counts_a_prompt_once_and_all_its_answers() -> None:
    """Copies share their prompt; only its first answer's cached tokens count."""
    call = parse_completion({"prompt": [[1, 2], [3]], "n": 2, "max_tokens": 5}, CARD)

    assert call.usage({0: 0, 1: 2, 2: 1, 3: 1}) == {
        "prompt_tokens": 3,
        "completion_tokens": 20,
        "total_tokens": 23,
        "prompt_tokens_details": {"cached_tokens": 1},
    }


@pytest.mark.parametrize(
    ("body", "status", "param", "message"),
    [
        ({"model": "base"}, 400, "prompt", "prompt must be a text, a list of token ids"),
        ({"prompt": ""}, 400, "prompt", "not empty"),
        ({"prompt": []}, 400, "prompt", "not empty"),
        ({"prompt": [[1], []]}, 400, "prompt", "not empty"),
        ({"prompt": [1, -2]}, 400, "prompt", "token ids are integers from 0 to 2\\^32-1"),
        ({"prompt": [1, 2**32]}, 400, "prompt", "token ids are integers"),
        ({"prompt": [1, 2.5]}, 400, "prompt", "token ids are integers"),
        ({"prompt": [1, "a"]}, 400, "prompt", "token ids are integers"),
        ({"prompt": ["a", 1]}, 400, "prompt", "prompt must be a list of token ids"),
        ({"prompt": "a", "model": "gone"}, 404, "model", "The model `gone` does not exist."),
        ({"prompt": "a", "model": 7}, 400, "model", "model must be of type str, not int"),
        ({"prompt": "a", "max_tokens": 0}, 400, "max_tokens", "max_tokens must be at least 1, got 0"),
        ({"prompt": "a", "max_tokens": True}, 400, "max_tokens", "must be of type int, not bool"),
        ({"prompt": "a", "n": 129}, 400, "n", "n must be from 1 to 128, got 129"),
        ({"prompt": "a", "stream": "yes"}, 400, "stream", "stream must be of type bool, not str"),
        ({"prompt": "a", "cache_salt": ""}, 400, "cache_salt", "a text that is not empty"),
        ({"prompt": "a", "max_tokens": 100}, 400, "prompt", "context length is 100 tokens.*requested 101"),
        (
            {"prompt": "a", "truncate_prompt_tokens": 101},
            400,
            "truncate_prompt_tokens",
            "from 1 to 100, got 101",
        ),
        ({"prompt": "a", "truncate_prompt_tokens": 0}, 400, "truncate_prompt_tokens", "1 to 100, got 0"),
        ({"prompt": [1] * 100}, 400, "prompt", "context length is 100 tokens.*100 in the prompt, 1 in the"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_wrong_completion_is_refused(body: Json, status: int, param: str, message: str) -> None:
    """The error says what is wrong, where, and with which status."""
    with pytest.raises(ApiError, match=message) as caught:
        parse_completion(body, CARD)

    assert (caught.value.status, caught.value.param) == (status, param)


@pytest.mark.parametrize(
    "messages",
    [None, [], "hi", [1], [{"content": "hi"}], [{"role": 1}]],
    ids=["none", "empty", "text", "number", "no role", "role no text"],
)
def test_wrong_messages_are_refused(messages: object) -> None:
    """A conversation is a list of objects with roles."""
    with pytest.raises(ApiError, match="messages"):
        parse_chat({"messages": messages}, CARD)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"chat_template": "{{ messages }}"}, "is not trusted"),
        ({"continue_final_message": True}, "needs add_generation_prompt to be false"),
        ({"tools": {"name": "f"}}, "tools must be of type list"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url is nothing that"),
    ],
    ids=["template", "continued and opened", "tools", "image"],
)
def test_what_the_template_cannot_do_is_refused(fields: Json, message: str) -> None:
    """A field that changes the tokens of a chat is never ignored."""
    with pytest.raises(ApiError, match=message):
        parse_chat({"messages": MESSAGES, **fields}, CARD)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"name": "f"}]},
        {"documents": [{"text": "d"}]},
        {"reasoning_effort": "low"},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"continue_final_message": True, "add_generation_prompt": False},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_the_template_sees_every_setting(fields: Json) -> None:
    """Each field changes the tokens of a conversation."""
    card = ServedModels(model="base", max_model_len=1000)

    assert parse_chat({"messages": MESSAGES, **fields}, card).prompts != (apply_chat_template(MESSAGES),)


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"truncate_prompt_tokens": 3}, [4, 5, 6]),
        ({"truncate_prompt_tokens": 3, "truncation_side": "right"}, [1, 2, 3]),
        ({"truncate_prompt_tokens": -1}, [1, 2, 3, 4, 5, 6]),
    ],
    ids=["end", "beginning", "as long as possible"],
)
def test_prompts_are_truncated(fields: Json, left: list[int]) -> None:
    """What is left of a prompt is its end, unless the other side is asked for."""
    assert parse_completion({"prompt": [1, 2, 3, 4, 5, 6], **fields}, CARD).prompts == (tuple(left),)


@pytest.mark.parametrize(
    ("fields", "use"),
    [
        ({"logprobs": 1}, CacheUse()),
        ({"prompt_logprobs": 0}, CacheUse(reads=False)),
        ({"echo": True}, CacheUse()),
        ({"echo": True, "logprobs": 0}, CacheUse(reads=False)),
        ({"vllm_xargs": {"kv_cache_report_mode": "full"}}, CacheUse(reports_hits=True)),
    ],
    ids=["logprobs", "prompt logprobs", "echo", "echo with logprobs", "full report"],
)
def test_requests_use_the_cache_differently(fields: Json, use: CacheUse) -> None:
    """For logprobs of the prompt nothing is read; vLLM's report mode is an extra argument."""
    assert parse_completion({"prompt": "hi", **fields}, CARD).use == use


def test_echo_alone_reads_nothing_in_a_chat() -> None:
    """There `top_logprobs` decides, which is 0 when it is not given."""
    assert parse_chat({"messages": MESSAGES, "echo": True}, CARD).use == CacheUse(reads=False)


def test_error_body_is_openais() -> None:
    """Clients find message, type, parameter and code."""
    assert ApiError(404, "NotFoundError", "no", "model").body() == {
        "error": {"message": "no", "type": "NotFoundError", "param": "model", "code": 404}
    }


def test_token_ids_are_plain_integers() -> None:
    """What JSON lets pass as a number is not passed on as a truth value."""
    assert [type(token) for token in ids([True, 2], "tokens")] == [int, int]


def test_models_name_the_base_as_parent_of_its_adapters() -> None:
    """The listing tells adapters from base models."""
    listing = CARD.listing(created=5)["data"]

    assert isinstance(listing, list)
    assert [(one["id"], one["parent"], one["max_model_len"]) for one in listing] == [
        ("base", None, 100),
        ("sql", "base", 100),
        ("chat", "base", 100),
    ]
