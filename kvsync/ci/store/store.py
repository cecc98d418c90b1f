"""Where the evidence of runs is kept, on a disk or in S3.

A key is a relative path with `/`, such as `kvsync/20261120-120000-ab12/report.html`. What cannot be a key of
every store is refused by all of them, so that a report moves freely between them.
"""

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import quote

LONGEST_KEY = 900
"""Bytes of UTF-8: S3 allows 1024, with the prefix of the store, which settings keep to 120."""
LONGEST_NAME = 255
"""Bytes of UTF-8 between slashes (the limit of file systems)."""

_UNWRITABLE = ("Cc", "Cs", "Cn")
"""Unicode's control characters, surrogates (bytes that are not UTF-8) and noncharacters."""

STALE_UPLOAD_DAYS = 2
"""After this time, what a call of `put` left is abandoned; the longest takes minutes."""

_TEXT = {
    ".html": "text/html",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".xml": "application/xml",
    ".svg": "image/svg+xml",
    ".log": "text/plain",
    ".txt": "text/plain",
    ".yaml": "text/plain",
    ".md": "text/plain",
}
_TYPES = {name: f"{kind}; charset=utf-8" for name, kind in _TEXT.items()} | {".png": "image/png"}
"""Of what a run's folder holds; written out, since the tables of operating systems differ."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a stored file holds: its length in bytes, and its hash as lower-case hex digits."""

    size: int
    sha256: str


class Store(Protocol):
    """Files under keys. Every method raises StoreError when the store fails, ValueError for no key."""

    def put(self, key: str, source: Path) -> Stored:
        """Store a copy of a file, in place of an earlier one; it may grow meanwhile. Returns what is kept."""

    def get(self, key: str) -> bytes:
        """Return what is stored; UnknownName when there is nothing."""

    def stat(self, key: str) -> Stored | None:
        """Say what is stored, without fetching it; None when there is nothing."""

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys that start with `prefix`, sorted."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove files in this order; those that are already gone are not an error."""

    def tidy(self, prefix: str, before: datetime | None = None) -> None:
        """Remove what interrupted calls of `put` left under a prefix, or those that began before a time."""

    def url(self, key: str) -> str:
        """Return the link by which a person opens the file; a query in it is a secret."""


def checked(key: str) -> str:
    """Return a key as it is; ValueError if it is not a path below a root, or cannot be written."""
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"not a key below the root: {key!r}")
    if "\\" in key:
        raise ValueError(f"not a key: {key!r}: servers and browsers take a backslash for a slash")
    if any(unicodedata.category(each) in _UNWRITABLE for each in key):
        raise ValueError(f"not a key: {key!r}: a character that XML and terminals refuse")
    sizes = [len(part.encode()) for part in parts]
    if max(sizes) > LONGEST_NAME or sum(sizes) + len(sizes) > LONGEST_KEY:
        raise ValueError(f"not a key: {key[:40]!r}...: too long")
    return key


def content_type(key: str) -> str:
    """Return what browsers are told that a file is, by the end of its name."""
    return _TYPES.get(PurePosixPath(key).suffix, "application/octet-stream")


def static_link(base: str, key: str) -> str:
    """Return the address of a file below a base, with every character that URLs mind quoted."""
    return f"{base.rstrip('/')}/{quote(key)}"


def digest(path: Path) -> Stored:
    """Read a file for what `stat` would say of it."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Stored(file.tell(), sha256)


def beside(key: str) -> str:
    """Return the prefix of a key and its neighbours."""
    parent = PurePosixPath(key).parent.as_posix()
    return "" if parent == "." else f"{parent}/"
