"""Files that are read again when they change."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from kvsync.errors import ConfigError

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Their content is compared: a time stamp is too coarse, and what Kubernetes mounts changes behind a link."""


async def follow(
    what: str, files: Sequence[Path], read: Callable[[], None], interval_s: float = LOOK_S
) -> None:
    """Call `read` after each change of the files, until cancelled; what it refuses is logged, once."""
    seen = _contents(files)
    while files:
        await asyncio.sleep(interval_s)
        if (now := _contents(files)) == seen:
            continue
        seen = now
        try:
            read()
        except ConfigError as exc:
            log.warning("%s stay as they were: %s", what, exc)
        else:
            log.info("%s: the files have changed and were read again", what)


def _contents(files: Sequence[Path]) -> list[bytes | None]:
    return [_content(file) for file in files]


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None
