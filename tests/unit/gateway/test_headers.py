"""What passes the gateway."""

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
