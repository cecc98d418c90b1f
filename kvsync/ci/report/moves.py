"""Tests that moved from one shard of a stage to another: how long they take decides which has them. Pure."""

import re
from collections.abc import Collection, Hashable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=tuple[Hashable, ...])
"""A stage, and what tells its checks apart."""

_NUMBER = re.compile(r"-[0-9]+$")


def moved(before: Collection[Key], after: Collection[Key]) -> Mapping[Key, Key]:
    """Return where checks of `after` that are not in `before` were then, if in a stage of another number.

    A check that is in both of two such stages did not move: these are no shards.
    """
    gone = {_whole(key): key for key in sorted(key for key in before if key not in after)}
    return {key: gone[_whole(key)] for key in after if key not in before and _whole(key) in gone}


def _whole(key: Key) -> tuple[Hashable, ...]:
    stage, *rest = key
    return _NUMBER.sub("", str(stage)), *rest
