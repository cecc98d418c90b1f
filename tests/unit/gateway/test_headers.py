"""What passes the gateway, and what it reads in passing."""

import pytest

from kvsync.gateway.agreement import reported_cached_tokens
from kvsync.gateway.proxy import forwarded_headers


def test_headers_of_one_connection_stay_behind() -> None:
    """Hop-by-hop headers, those named by Connection and those left out by name are dropped; others pass."""
    headers = [
        (b"Host", b"gateway"),
        (b"Connection", b"close, X-Private"),
        (b"X-Private", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"X-Request-Id", b"r-1"),
        (b"Authorization", b"Bearer k"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
    ]

    assert forwarded_headers(headers, without={b"host"}) == [
        (b"X-Request-Id", b"r-1"),
        (b"Authorization", b"Bearer k"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
    ]


@pytest.mark.parametrize(
    ("end_of_answer", "expected"),
    [
        pytest.param(b'"usage":{"prompt_tokens_details":{"cached_tokens":48}}}', 48, id="whole-answer"),
        pytest.param(b'data: {"cached_tokens": 0}\n\ndata: {"cached_tokens": 32}\n\n', 32, id="last-chunk"),
        pytest.param(b'"usage":{"prompt_tokens":50,"prompt_tokens_details":null}}', None, id="not-reported"),
        pytest.param(rb'"text":"say \"cached_tokens\": 9 please"', None, id="generated-text"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_reported_cached_tokens(end_of_answer: bytes, expected: int | None) -> None:
    """The engine's own count of cached tokens is found in its answer, and only there."""
    assert reported_cached_tokens(end_of_answer) == expected
