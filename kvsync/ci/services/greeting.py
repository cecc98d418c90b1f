"""What clients say first in the protocols of services: anything that speaks one answers. Pure."""

import struct

LONGEST_STARTUP = 9_000
"""Bytes; PostgreSQL refuses more than 10,000 before it knows who asks."""


def postgres_hello(size: int) -> bytes:
    """Begin a session, with a setting of this size: the server asks for a password, or says no."""
    padding = b"x" * min(size, LONGEST_STARTUP)
    settings = b"user\0kvsync\0database\0kvsync\0application_name\0" + padding + b"\0\0"
    return struct.pack("!ii", len(settings) + 8, 3 << 16) + settings


def redis_hello(size: int) -> bytes:
    """Ask for an echo; without a login the answer is an error."""
    return b"*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n" % (size, b"x" * size)


def http_hello(host: str, path: str, size: int) -> bytes:
    """Ask for a path, or send it something where a size is given."""
    method = f"POST {path} HTTP/1.0\r\nContent-Length: {size}" if size else f"GET {path} HTTP/1.0"
    return f"{method}\r\nHost: {host}\r\n\r\n".encode() + b"x" * size
