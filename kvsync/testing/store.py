"""Where the evidence of runs is kept."""

import shutil
from pathlib import Path, PurePosixPath
from typing import Protocol

from kvsync.errors import UnknownName


class Store(Protocol):
    """Files under keys such as `20261120-120000-ab12/report.html`; a key is a relative path with `/`."""

    def put(self, key: str, source: Path) -> str:
        """Store a copy of a file, in place of an earlier one; returns its address."""

    def get(self, key: str) -> bytes:
        """Return what is stored; UnknownName when there is nothing."""

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys that start with `prefix`, sorted."""

    def url(self, key: str) -> str:
        """Return the address at which a person finds the file."""


class DirectoryStore:
    """A store in a directory of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def put(self, key: str, source: Path) -> str:
        """Copy a file; whoever reads the key meanwhile sees the old or the new one, whole."""
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        shutil.copyfile(source, partial)
        partial.replace(target)
        return self.url(key)

    def get(self, key: str) -> bytes:
        """Return the content of a file; UnknownName when it does not exist."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError) as exc:
            raise UnknownName("stored file", key, self.list(str(PurePosixPath(key).parent))) from exc

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys that start with `prefix`, sorted; unfinished copies are none."""
        files = (path for path in self._root.rglob("*") if path.is_file() and path.suffix != ".partial")
        keys = (path.relative_to(self._root).as_posix() for path in files)
        return sorted(key for key in keys if key.startswith(prefix))

    def url(self, key: str) -> str:
        """Return the file's address, as browsers take it."""
        return self._path(key).as_uri()

    def _path(self, key: str) -> Path:
        path = (self._root / key).resolve()
        if path == self._root or not path.is_relative_to(self._root):
            raise ValueError(f"not a key below {self._root}: {key!r}")
        return path
