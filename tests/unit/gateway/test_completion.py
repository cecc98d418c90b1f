"""What the gateway understands of a request."""

import json
from array import array

import pytest

from kvsync.gateway.completion import Completion, parse, parse_other, without_report
from kvsync.gateway.text import Text


def request(**fields: object) -> bytes:
    """The body of a request for model `m`."""
    return json.dumps({"model": "m", **fields}).encode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            request(prompt="Once upon", temperature=0),
            Text({"model": "m", "prompt": "Once upon", "temperature": 0}, "Once upon"),
            id="text",
        ),
        pytest.param(request(prompt=[1, 2, 4294967295]), array("I", [1, 2, 4294967295]), id="token-ids"),
        pytest.param(request(token_ids=[7, 8]), array("I", [7, 8]), id="token-ids-of-a-query"),
        pytest.param(
            request(prompt=["a", "b"]), Text({"model": "m", "prompt": ["a", "b"]}, "a"), id="first-of-texts"
        ),
        pytest.param(request(prompt=[[1, 2], [3]]), array("I", [1, 2]), id="first-of-token-lists"),
        pytest.param(
            request(messages=[{"role": "user", "content": "hi"}]),
            Text({"model": "m", "messages": [{"role": "user", "content": "hi"}]}, None),
            id="chat",
        ),
        pytest.param(
            request(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
            None,
            id="chat-with-an-image",
        ),
        pytest.param(request(prompt=[]), array("I"), id="empty-list"),
        pytest.param(request(prompt=[1, -1]), None, id="negative-token"),
        pytest.param(request(prompt=[1, 2**32]), None, id="token-too-large"),
        pytest.param(request(prompt=[1, "a"]), None, id="mixed"),
        pytest.param(request(prompt={"a": 1}), None, id="object"),
        pytest.param(request(prompt_embeds="..."), None, id="no-prompt"),
    ],
)
def test_prompt(body: bytes, expected: object) -> None:
    """A prompt is text for a tokenizer, token ids, or unknown; of several the first decides."""
    assert parse(body).prompt == expected


def test_fields_that_tell_requests_apart() -> None:
    """The cache salt and an index query's adapter are read; the number of prompts is counted."""
    body = request(prompt=["a", "b", "c"], cache_salt="s", lora="l", stream=True)

    assert parse(body) == Completion(
        model="m",
        prompt=Text(json.loads(body), "a"),
        prompts=3,
        stream=True,
        cache_salt="s",
        lora="l",
    )


@pytest.mark.parametrize(
    ("fields", "answers", "reads_cache"),
    [
        pytest.param({"prompt": "a"}, 1, True, id="plain"),
        pytest.param({"prompt": "a", "n": 3}, 3, True, id="several-answers"),
        pytest.param({"prompt": "a", "best_of": 2}, 2, True, id="best-of"),
        pytest.param({"prompt": "a", "n": "x", "logprobs": 5}, 1, True, id="logprobs-of-the-answer"),
        pytest.param({"prompt": "a", "prompt_logprobs": 0}, 1, False, id="prompt-logprobs"),
        pytest.param({"prompt": "a", "echo": True}, 1, True, id="echo"),
        pytest.param({"prompt": "a", "echo": True, "logprobs": 0}, 1, False, id="echo-with-logprobs"),
        pytest.param({"messages": [], "echo": True}, 1, False, id="echo-in-a-chat"),
        pytest.param({"messages": [], "echo": True, "top_logprobs": None}, 1, True, id="echo-without-any"),
    ],
)
def test_how_the_engine_uses_its_cache(fields: dict[str, object], answers: int, reads_cache: bool) -> None:
    """Answers are counted, and it is known which requests are computed as a whole."""
    completion = parse(request(**fields))

    assert (completion.answers, completion.reads_cache) == (answers, reads_cache)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        pytest.param(b"{", "the body is not valid JSON: Expecting property name", id="broken-json"),
        pytest.param(b"\xff\xfe{", "the body is not valid JSON", id="not-text"),
        pytest.param(b"[" * 100_000, "the body is not valid JSON", id="nested-too-deeply"),
        pytest.param(b"", "the body is not valid JSON", id="empty"),
        pytest.param(b"[1]", "the body must be a JSON object", id="not-an-object"),
        pytest.param(b'{"prompt": "a"}', "`model` must be the name of a model", id="no-model"),
        pytest.param(b'{"model": 7}', "`model` must be the name of a model", id="model-not-text"),
    ],
)
def test_unreadable(body: bytes, complaint: str) -> None:
    """A request that cannot be routed is refused with what is wrong."""
    with pytest.raises(ValueError, match=complaint):
        parse(body)


@pytest.mark.parametrize(
    ("fields", "is_known", "is_stored"),
    [
        pytest.param({}, True, True, id="whole"),
        pytest.param({"store": False}, True, False, id="not kept"),
        pytest.param({"previous_response_id": "resp_1"}, False, True, id="goes on with another"),
    ],
)
def test_a_response(fields: dict[str, object], is_known: bool, is_stored: bool) -> None:
    """Its tokens are asked for, unless only the engine knows what went before; it may be kept."""
    body = json.dumps({"model": "m", "input": "hi", **fields}).encode()

    found = parse_other(body, "/v1/responses", "application/json")

    assert (found.prompt is not None, found.is_stored) == (is_known, is_stored)
    assert found.goes_on == fields.get("previous_response_id")


@pytest.mark.parametrize(
    ("extra", "wanted"),
    [
        pytest.param({"kv_cache_report_mode": "full", "other": 1}, True, id="asked-for"),
        pytest.param({"other": 1}, False, id="others"),
        pytest.param(None, False, id="none"),
        pytest.param("kv_cache_report_mode", False, id="no-mapping"),
    ],
)
def test_the_argument_that_announces_hits_again_is_known_and_can_be_left_out(
    extra: object, wanted: bool
) -> None:
    """Only that argument goes; everything else stays as it was."""
    body = json.dumps({"model": "m", "prompt": "\u00e9\ud83d\ude00 1e400", "vllm_xargs": extra}).encode()

    assert parse(body).wants_report is wanted
    if wanted:
        assert json.loads(without_report(body)) == {**json.loads(body), "vllm_xargs": {"other": 1}}
