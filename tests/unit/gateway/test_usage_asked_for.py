"""Usage that is asked for in a client's name and left out of its answer again."""

import json

import pytest

from kvsync.gateway.completion import parse
from kvsync.gateway.operation.usage import WithoutUsage, with_usage

TEXT = b'data: {"choices": [{"text": "\\"usage\\": {\\"choices\\": []"}], "usage": null}\n\n'
USAGE = b'data: {"id": "1", "choices": [], "usage": {"prompt_tokens": 3}}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("options", "asks"),
    [
        (None, False),
        ({"continuous_usage_stats": False}, False),
        ({"include_usage": False}, False),
        ({"include_usage": True}, True),
    ],
    ids=["none", "others", "not", "asked for"],
)
def test_usage_is_asked_for_unless_the_client_does(options: object, asks: bool) -> None:
    """Everything else of the request stays."""
    body = json.dumps({"model": "m", "prompt": "x", "stream": True, "stream_options": options}).encode()
    assert parse(body).asks_for_usage is asks

    now = json.loads(with_usage(body))

    assert now == {
        "model": "m",
        "prompt": "x",
        "stream": True,
        "stream_options": {**(options if isinstance(options, dict) else {}), "include_usage": True},
    }
    assert parse(with_usage(body)).asks_for_usage


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_only_the_event_with_the_usage_is_left_out(size: int, newline: bytes) -> None:
    """However the stream is cut into chunks, and whatever the model says."""
    whole, wanted = (
        b"".join(events).replace(b"\n", newline) for events in ((TEXT, TEXT, USAGE, DONE), (TEXT, TEXT, DONE))
    )
    cut = WithoutUsage()

    sent = [cut.feed(whole[at : at + size]) for at in range(0, len(whole), size)]

    assert b"".join([*sent, cut.end()]) == wanted


def test_a_stream_that_breaks_off_ends_as_it_came() -> None:
    """What came of an unfinished event is passed on, too."""
    cut = WithoutUsage()

    assert cut.feed(TEXT + USAGE[:20]) == TEXT
    assert cut.end() == USAGE[:20]
