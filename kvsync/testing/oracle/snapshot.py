"""Pods and indexes at one moment in which nothing happened: judged, and kept to be judged again.

What is kept is named by the digest of its content, and the history that names it holds the digest: changing
one without the other is detected, and changing both still has to satisfy the oracle.
"""

import gzip
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from kvsync.testing.oracle.announcements import Announcement
from kvsync.testing.oracle.diagnosis import compare
from kvsync.testing.oracle.tables import BlockTable, Comparison, IndexDump, Lookup
from kvsync.testing.results.verdicts import Inconclusive, Violated
from kvsync.testing.results.whole import write_whole

FOLDER = "comparisons"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexState:
    """What one gateway's index holds, and what it answered when it was asked."""

    gateway: str
    dumps: Sequence[IndexDump]
    indexed: int
    lookups: Sequence[Lookup] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Pods and indexes, as far as they had settled: `unsettled` says what had not."""

    tables: Sequence[BlockTable]
    indexes: Sequence[IndexState]
    unsettled: Sequence[str] = ()

    def compared(self, announced: Iterable[Announcement] = ()) -> Comparison:
        """Compare each index with the pods; the causes follow from what the pods announced."""
        known = tuple(announced)
        found = [
            compare(self.tables, index.dumps, known, index.lookups, indexed=index.indexed)
            for index in self.indexes
        ]
        first = found[0] if found else Comparison(violations=(), blocks=0, pods=0)
        return replace(first, violations=tuple(each for one in found for each in one.violations))

    def wrong(self, comparison: Comparison) -> list[str]:
        """Say in lines what is wrong; nothing when all is well."""
        return [*(str(comparison).splitlines() if comparison.violations else ()), *self.unsettled]


def require(wrong: Sequence[str], comparison: Comparison, *, at_least: int) -> None:
    """Raise Violated for what is wrong, and Inconclusive for fewer than `at_least` blocks: no proof then."""
    if wrong:
        raise Violated("the index is wrong: " + "\n".join(wrong))
    if comparison.blocks < at_least:
        raise Inconclusive(f"the pods hold {comparison.blocks} blocks, which proves nothing")


def keep(snapshot: Snapshot, folder: Path) -> str:
    """Write what was compared to a file below `folder`, and return its name, a digest."""
    content = _adapter().dump_json(snapshot)
    digest = hashlib.sha256(content).hexdigest()
    write_whole(_path(folder, digest), gzip.compress(content, mtime=0))
    return digest


def load(folder: Path, digest: str) -> Snapshot:
    """Return what `keep` wrote. Raises Inconclusive when it is not there, Violated when it was changed."""
    path = _path(folder, digest)
    if not re.fullmatch("[0-9a-f]{64}", digest) or not path.exists():
        raise Inconclusive(f"what was compared is not there: {path.name}")
    try:
        content = gzip.decompress(path.read_bytes())
        if hashlib.sha256(content).hexdigest() == digest:
            return _adapter().validate_json(content)
    except (OSError, EOFError, ValueError, ValidationError) as exc:
        raise Violated(f"what was compared cannot be read: {path.name}: {exc}") from exc
    raise Violated(f"what was compared was changed afterwards: {path.name}")


def _path(folder: Path, digest: str) -> Path:
    return folder / FOLDER / f"{digest}.json.gz"


@cache
def _adapter() -> TypeAdapter[Snapshot]:
    return TypeAdapter(Snapshot)
