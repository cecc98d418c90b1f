"""Where the evidence of runs is kept, on a disk or in S3.

A key is a relative path with `/`, such as `kvsync/20261120-120000-ab12/report.html`. What cannot be a key of
every store is refused by all of them, so that a report moves freely between them.
"""

import hashlib
import os
import secrets
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import quote

from kvsync.ci.settings import StoreSettings
from kvsync.errors import StoreError, UnknownName

LONGEST_KEY = 900
"""Bytes of UTF-8: S3 allows 1024, with the prefix of the store, which settings keep to 120."""
LONGEST_NAME = 255
"""Bytes of UTF-8 between slashes (the limit of file systems)."""

_UNWRITABLE = ("Cc", "Cs", "Cn")
"""Unicode's control characters, surrogates (bytes that are no UTF-8) and noncharacters."""

STALE_UPLOAD_DAYS = 2
"""When what is left of a call of `put` belongs to nobody any more; the longest takes minutes."""

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
        """Remove files in this order; those that are gone already are no error."""

    def tidy(self, prefix: str, before: datetime | None = None) -> None:
        """Remove what interrupted calls of `put` left under a prefix, or those that began before a time."""

    def url(self, key: str) -> str:
        """Return the link by which a person opens the file; a query in it is a secret."""


def open_store(settings: StoreSettings) -> Store | None:
    """Return the store that is configured; None without one. Raises StoreError."""
    if settings.url.startswith("s3://"):
        # Imported here, since boto3 takes long to import and most commands need no S3.
        from kvsync.ci.store.s3 import S3Store

        return S3Store.open(settings)
    return DirectoryStore(Path(settings.url), settings.link_base) if settings.url else None


def checked(key: str) -> str:
    """Return a key as it is; ValueError for what is no path below a root, too long, or not to be written."""
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"not a key below the root: {key!r}")
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


class DirectoryStore:
    """A store in a directory of this machine. With `link_base`, links lead to whoever serves it."""

    def __init__(self, root: Path, link_base: str = "") -> None:
        self._root, self._link_base = root.resolve(), link_base

    def put(self, key: str, source: Path) -> Stored:
        """See Store; whoever reads the key meanwhile sees the old or the new one, whole."""
        target = self._path(key)
        partial = target.with_name(f".{secrets.token_hex(8)}.partial")
        with _working(f"store {target}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source, partial)
                stored = digest(partial)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        return stored

    def get(self, key: str) -> bytes:
        """See Store."""
        path = self._path(key)
        with _working(f"read {path}"):
            if not path.is_file():
                raise UnknownName("stored file", key, self.list(beside(key)))
            return path.read_bytes()

    def stat(self, key: str) -> Stored | None:
        """See Store."""
        path = self._path(key)
        with _working(f"read {path}"):
            return digest(path) if path.is_file() else None

    def list(self, prefix: str = "") -> list[str]:
        """See Store; unfinished copies are no files."""
        keys = (path.relative_to(self._root).as_posix() for path in self._below(prefix) if not _partial(path))
        return sorted(key for key in keys if key.startswith(prefix))

    def delete(self, keys: Iterable[str]) -> None:
        """See Store; directories that become empty go too."""
        for path in map(self._path, keys):
            with _working(f"delete {path}"):
                path.unlink(missing_ok=True)
                for folder in path.parents[: len(path.relative_to(self._root).parts) - 1]:
                    if folder.exists() and not any(folder.iterdir()):
                        folder.rmdir()

    def tidy(self, prefix: str, before: datetime | None = None) -> None:
        """See Store."""
        for path in filter(_partial, self._below(prefix)):
            with _working(f"delete {path}"):
                if before is None or datetime.fromtimestamp(path.stat().st_mtime, UTC) < before:
                    path.unlink(missing_ok=True)

    def url(self, key: str) -> str:
        """See Store."""
        path = self._path(key)
        return static_link(self._link_base, key) if self._link_base else path.as_uri()

    def _below(self, prefix: str) -> Iterator[Path]:
        """Find files in the directory that a prefix names or begins in."""
        with _working(f"list {self._root / prefix}"):
            if self._root.exists():
                os.scandir(self._root).close()  # rglob finds nothing where it may not read
            folder = self._root / prefix.rpartition("/")[0]
            yield from (path for path in folder.rglob("*") if path.is_file())

    def _path(self, key: str) -> Path:
        path = (self._root / checked(key)).resolve()
        if not path.is_relative_to(self._root):
            raise ValueError(f"not a key below the root: {key!r}")
        return path


def digest(path: Path) -> Stored:
    """Read a file for what `stat` would say of it."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Stored(file.tell(), sha256)


def beside(key: str) -> str:
    """Return the prefix of a key and its neighbours."""
    parent = PurePosixPath(key).parent.as_posix()
    return "" if parent == "." else f"{parent}/"


def _partial(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix == ".partial"


@contextmanager
def _working(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StoreError(what, exc.strerror or str(exc), "free the disk or correct its rights") from exc
