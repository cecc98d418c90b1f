"""What may be called what: names of files, ids of servers and chunks, content types. Pure."""

import re
from uuid import UUID

from objectstore.errors import Invalid, UnsupportedType

DEFAULT_TYPE = "application/octet-stream"

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,254}")
_SERVER = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_CHUNK = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{2,127}")

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105
_TYPE = re.compile(rf'{_TOKEN}/{_TOKEN}(\s*;\s*{_TOKEN}=({_TOKEN}|"[^"\\]*"))*')
"""A media type as RFC 9110 (8.3.1) has it."""


def file_name(given: str) -> str:
    """Return the name of a file. Raises Invalid."""
    if not _FILE.fullmatch(given):
        raise Invalid(
            f"{given[:80]!r} is not a file name: up to 255 letters, digits, '.', '_', '-' and spaces, "
            "beginning with a letter or digit"
        )
    return given


def server_id(given: str) -> str:
    """Return the id of a storage server. Raises Invalid."""
    if not _SERVER.fullmatch(given):
        raise Invalid(f"{given[:80]!r} is not a server id: up to 63 lower-case letters, digits, '.' and '-'")
    return given


def chunk_id(given: str) -> str:
    """Return the id of a chunk, which becomes the name of a file of its own. Raises Invalid."""
    if not _CHUNK.fullmatch(given):
        raise Invalid(f"{given[:80]!r} is not a chunk id: 3 to 128 letters, digits and '-'")
    return given


def chunk_of(object_id: UUID, number: int) -> str:
    """Return the id of the chunk with this number, from 0, of an object."""
    return f"{object_id.hex}-{number}"


def content_type(given: str | None) -> str:
    """Return a content type, octets where none is given. Raises UnsupportedType."""
    if given is None:
        return DEFAULT_TYPE
    if not _TYPE.fullmatch(given.strip()):
        raise UnsupportedType(f"{given[:80]!r} is not a content type such as 'text/plain; charset=utf-8'")
    return given.strip()
