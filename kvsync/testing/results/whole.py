"""Files that a reader sees whole or not at all."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".partial"


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file in place of an earlier one, and its folder if need be; text as UTF-8."""
    with replacing(path) as partial:
        partial.write_bytes(content if isinstance(content, bytes) else content.encode())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield where to write what takes the place of `path` at the end; if the body fails, nothing does.

    Each writer has a file of its own: a run and its guardian may write the same report.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{secrets.token_hex(8)}{SUFFIX}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def is_partial(path: Path) -> bool:
    """Say whether a file is one that was not finished."""
    return path.name.startswith(".") and path.suffix == SUFFIX
