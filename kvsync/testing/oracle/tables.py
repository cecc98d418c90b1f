"""What pods hold, what an index believes, and what was found wrong, as values."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

ViolationKind = Literal["lost", "phantom", "isolation", "misfiled", "unconverged", "lookup"]

PARENT_LOST = "its parent is lost too"

PARENT_MISFILED = "its parent is filed wrongly too"

FOLLOWING = frozenset({"unconverged", "lookup", PARENT_LOST, PARENT_MISFILED})
"""Kinds and causes that follow from others, which point at the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block that a pod holds; `salt` only where it entered the engine's hash, at the root."""

    parent: int | None
    token_ids: tuple[int, ...]
    lora: str = ""
    salt: str | None = None
    copies: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTable:
    """What one pod holds after batch `seq` (-1: none) of its incarnation `epoch`, by engine hash."""

    pod: str
    model: str
    epoch: int
    seq: int
    block_size: int
    blocks: Mapping[int, Block]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexEntry:
    """What an index says of one block: our own hash, and the adapter."""

    own: int
    lora: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexDump:
    """What an index believes one pod holds after its batch `last`, by engine hash."""

    pod: str
    model: str
    state: str
    last: int | None
    blocks: Mapping[int, IndexEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that is wrong; `cause` groups what probably has one reason, `evidence` is this one's."""

    kind: ViolationKind
    pod: str
    cause: str
    evidence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was found wrong, and how much was looked at: without any block it proves nothing."""

    violations: tuple[Violation, ...]
    blocks: int
    pods: int
    lookups: int = 0

    def __str__(self) -> str:
        """Say it in one line per kind, pod and cause, what tells most first, and how much was looked at."""
        groups: dict[tuple[str, str, str], list[Violation]] = defaultdict(list)
        for each in self.violations:
            groups[each.kind, each.pod, each.cause].append(each)
        ordered = sorted(groups.items(), key=lambda item: (bool(FOLLOWING & {*item[0]}), -len(item[1])))
        lines = [
            f"{kind}: {len(group)} on pod {pod}: {cause}"
            + (f" (such as {group[0].evidence})" if group[0].evidence else "")
            for (kind, pod, cause), group in ordered
        ]
        looked = f"{self.blocks} blocks of {self.pods} pods and {self.lookups} lookups"
        return "\n".join([*lines, f"{len(self.violations)} violations in {looked}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupPrompt:
    """Something to look up in the index: a whole number of blocks."""

    model: str
    lora: str
    salt: str | None
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """What the index answered for a prompt: how many blocks of it each pod holds; 0 is left out."""

    prompt: LookupPrompt
    matched: Mapping[str, int]


def digest(dumps: Iterable[IndexDump]) -> str:
    """Return what is equal for indexes that hold the same, whatever they have been through."""
    held = sorted(
        (dump.pod, dump.model, entry.lora, engine, entry.own)
        for dump in dumps
        for engine, entry in dump.blocks.items()
    )
    return hashlib.sha256(repr(held).encode()).hexdigest()[:16]
