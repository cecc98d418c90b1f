"""A store in a directory of this machine."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from kvsync.ci.errors import StoreError
from kvsync.ci.store.store import Stored, beside, checked, digest, static_link
from kvsync.errors import UnknownName
from kvsync.testing.results.whole import is_partial, replacing


class DirectoryStore:
    """A store in a directory of this machine. With `link_base`, links lead to its web server."""

    def __init__(self, root: Path, link_base: str = "") -> None:
        self._root, self._link_base = root.resolve(), link_base

    def put(self, key: str, source: Path) -> Stored:
        """See Store; a reader of the key sees the old or the new one, whole."""
        target = self._path(key)
        with _working(f"store {target}"), replacing(target) as partial:
            shutil.copyfile(source, partial)
            return digest(partial)

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
        """See Store; unfinished copies do not count."""
        whole = (path for path in self._below(prefix) if not is_partial(path))
        keys = (path.relative_to(self._root).as_posix() for path in whole)
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
        for path in filter(is_partial, self._below(prefix)):
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


@contextmanager
def _working(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StoreError(what, exc.strerror or str(exc), "free the disk or correct its rights") from exc
