"""What an indexer knows, as values, and what can be asked of one.

The gateway asks this and nothing else of what follows the events, so that it can be anywhere.
"""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from kvsync.events import Source
from kvsync.index import Digest, Match, Prompt
from kvsync.pods import Pod
from kvsync.sequence import State
from kvsync.sources.status import SourceStatus


class Version(NamedTuple):
    """Of which moment something is: after so many changes of what the indexer's process `run` knows."""

    run: str = ""
    changes: int = 0


UNKNOWN = Version()

NO_BLOCKS = Digest(0, 0)


class Matches(NamedTuple):
    """What each rank holds of a prompt; those without any are left out."""

    matched: Mapping[Source, Match]
    version: Version


class PodStanding(NamedTuple):
    """How far what is known of a pod can be trusted, and what its events have said so far.

    `emptied` is how often all that was known of one of its sources was dropped, `removals` how often it
    announced that blocks were removed.
    """

    state: State = State.BLIND
    emptied: int = 0
    removals: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """All that is known of a source but its blocks: how many they are, of how many tokens (0: not known),
    how many wait for a parent, how many are not indexed, by reason, and what adapters it names by numbers."""

    status: SourceStatus
    blocks: int = 0
    block_size: int = 0
    orphans: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    digest: Digest = NO_BLOCKS
    lora_ids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All that an indexer knows but the blocks.

    `events` counts the events of a pod by kind, `applied` what they did by the label of the index,
    `snapshots` snapshots by what became of them. `block_sizes` are those in use for each model, in tokens.
    """

    version: Version = UNKNOWN
    hash_seed: int = 0
    sources: Sequence[SourceFacts] = ()
    blocks_total: int = 0
    bytes_estimated: int = 0
    holders: int = 0
    block_sizes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    events: Mapping[tuple[str, str], int] = field(default_factory=dict)
    applied: Mapping[tuple[str, str], int] = field(default_factory=dict)
    snapshots: Mapping[str, int] = field(default_factory=dict)


class Dump(NamedTuple):
    """All that is known of a source at one moment; `blocks` are LoRA and own hash by engine hash."""

    facts: SourceFacts
    blocks: Mapping[int, tuple[str, int]]

    def to_json(self) -> dict[str, object]:
        """Write it as `/index/dump` shows it; hashes are 16 hexadecimal digits."""
        status, digest = self.facts.status, self.facts.digest
        return {
            "pod": status.source.pod,
            "model": status.source.model,
            "rank": status.source.rank,
            "state": status.state.value,
            "last": status.last,
            "digest": digest_json(digest),
            "blocks": [
                {"engine": f"{engine:016x}", "own": f"{own:016x}", "lora": lora}
                for engine, (lora, own) in self.blocks.items()
            ],
        }


def digest_json(digest: Digest) -> dict[str, object]:
    """Write a digest, its exclusive or as 16 hexadecimal digits."""
    return {"blocks": digest.blocks, "xor": f"{digest.xor:016x}"}


Place = tuple[str, int | None]
"""A pod, or one of its ranks."""


class SharedLoad(Protocol):
    """How many requests run where: a gateway's own, and those of others that share its indexer."""

    def counts(self) -> Mapping[Place, int]:
        """Return the gateway's own; places without any are left out."""

    def note_siblings(self, running: Mapping[Place, int]) -> None:
        """Take note of the others'."""


class Indexer(Protocol):
    """What the gateway asks. `counts` are of prompts, by whether they were answered."""

    counts: Counter[str]

    @property
    def pods(self) -> Sequence[Pod]:
        """All pods there are."""

    @property
    def discovery_problem(self) -> str:
        """Why the list of pods may be out of date; empty: it is not."""

    @property
    def problem(self) -> str:
        """Why nothing is known of what pods hold; empty: the indexer answers."""

    @property
    def restarts(self) -> int:
        """How often its process died and was started again."""

    async def match(self, prompt: Prompt) -> Matches:
        """Return what each rank holds of the beginning of a prompt; nothing while the indexer is away."""

    def standing(self, pod: str) -> PodStanding:
        """Return how far what is known of a pod can be trusted."""

    def lora_ids(self, pod: Pod) -> Collection[int]:
        """Return the adapters that a pod's events name by numbers alone."""

    def share(self, load: SharedLoad) -> None:
        """Tell others that share the indexer what runs, and learn what they run, from now on."""

    def doubt(self, source: Source, by: str, reason: str) -> None:
        """Say why a source is not EXACT although its events came; `by` names who says so, "" ends it."""

    def picture(self) -> Picture:
        """Return all that is known but the blocks, as of the last `refresh` at least."""

    async def refresh(self) -> None:
        """Bring the picture up to date."""

    async def dump(self, source: Source) -> Dump | None:
        """Return all that is known of a source; None: it is not followed."""

    def snapshots(self) -> AsyncIterator[bytes]:
        """Give a snapshot of each source, as another indexer that starts reads it."""
