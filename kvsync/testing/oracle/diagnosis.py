"""Compare what an index believes with what the pods really hold, at rest, and say why it is wrong.

For every pod the index must hold exactly the resident blocks, each under the own hash that its tokens and
all tokens before it give, and under the LoRA adapter it was computed with:

- lost: the pod holds the block, the index does not;
- phantom: the index holds the block, the pod does not (any more);
- isolation: what a pod's entries say comes from another pod, model or adapter;
- misfiled: the block is there under a hash by which its prompt will not find it;
- unconverged: the index has not taken everything the pod published, or does not know the pod;
- lookup: a prompt matches other blocks than the pod holds.

The probable cause follows from what the pods announced; without announcements violations are found all the
same, with less to say about them. Only heads of broken chains are blamed one by one.
"""

import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from kvsync.hashing import DEFAULT_SEED, block_hashes
from kvsync.testing.oracle.announcements import Announcement, BlockLife, Story, stories
from kvsync.testing.oracle.tables import (
    PARENT_LOST,
    PARENT_MISFILED,
    Block,
    BlockTable,
    Comparison,
    IndexDump,
    Lookup,
    LookupPrompt,
    Violation,
    ViolationKind,
)

NO_LIFE = BlockLife()


def prompts(tables: Sequence[BlockTable], rng: random.Random, count: int) -> list[LookupPrompt]:
    """Choose prompts to look up: each is the way from a root to a block that some pod holds."""
    held = [(table, block) for table in tables for block in _own_hashes(table, DEFAULT_SEED)]
    chosen = rng.sample(held, min(count, len(held)))
    return [_prompt(table, block) for table, block in chosen]


def matches(tables: Iterable[BlockTable], prompt: LookupPrompt) -> dict[str, int]:
    """Return how many blocks of a prompt each pod holds, from the root without a hole; 0 is left out."""
    counted = {table.pod: _matched(table, prompt) for table in tables if table.model == prompt.model}
    return {pod: count for pod, count in counted.items() if count}


def compare(
    tables: Iterable[BlockTable],
    dumps: Iterable[IndexDump],
    announced: Iterable[Announcement] = (),
    lookups: Sequence[Lookup] = (),
    *,
    indexed: int | None = None,
    seed: int = DEFAULT_SEED,
) -> Comparison:
    """Find every difference between the pods' tables and the index at rest. Does no I/O.

    `indexed` is how many blocks the index says it holds in all, which a dump by pods may not show.
    """
    truth = {table.pod: table for table in tables}
    beliefs = {dump.pod: dump for dump in dumps}
    found = stories(announced)
    violations = [*_strangers(truth, beliefs), *_unaccounted(beliefs.values(), indexed)]
    for pod, table in truth.items():
        dump = beliefs.get(pod)
        if dump is None:
            violations.append(
                Violation(kind="unconverged", pod=pod, cause="the index does not know this pod")
            )
        else:
            violations += _Pair(table, dump, found, seed).violations()
    violations += chain.from_iterable(_mismatches(truth.values(), lookup) for lookup in lookups)
    return Comparison(
        violations=tuple(violations),
        blocks=sum(len(table.blocks) for table in truth.values()),
        pods=len(truth),
        lookups=len(lookups),
    )


def _strangers(truth: Mapping[str, BlockTable], beliefs: Mapping[str, IndexDump]) -> Iterator[Violation]:
    for pod, dump in beliefs.items():
        if pod not in truth:
            evidence = f"{len(dump.blocks)} blocks"
            cause = "there is no such pod: its entries were not forgotten when it went"
            yield Violation(kind="phantom", pod=pod, cause=cause, evidence=evidence)


def _unaccounted(beliefs: Collection[IndexDump], indexed: int | None) -> Iterator[Violation]:
    dumped = sum(len(dump.blocks) for dump in beliefs)
    if indexed is not None and indexed != dumped:
        cause = "the index holds blocks of pods that it does not follow: they were not forgotten"
        evidence = f"{indexed} blocks in all, {dumped} of pods that are followed"
        yield Violation(kind="phantom", pod="(unknown)", cause=cause, evidence=evidence)


def _mismatches(tables: Collection[BlockTable], lookup: Lookup) -> Iterator[Violation]:
    expected = matches(tables, lookup.prompt)
    for pod in sorted({*expected, *lookup.matched}):
        held, matched = expected.get(pod, 0), lookup.matched.get(pod, 0)
        if held != matched:
            cause = f"a prompt matches {'fewer' if matched < held else 'more'} blocks than the pod holds"
            evidence = f"{matched} instead of {held} blocks of {len(lookup.prompt.token_ids)} tokens"
            yield Violation(kind="lookup", pod=pod, cause=cause, evidence=evidence)


def _prompt(table: BlockTable, last: int) -> LookupPrompt:
    path = []
    block: int | None = last
    while block is not None:
        path.append(table.blocks[block])
        block = table.blocks[block].parent
    tokens = tuple(chain.from_iterable(each.token_ids for each in reversed(path)))
    return LookupPrompt(model=table.model, lora=path[0].lora, salt=path[-1].salt, token_ids=tokens)


def _matched(table: BlockTable, prompt: LookupPrompt) -> int:
    by_content = {(b.parent, b.token_ids, b.lora, b.salt): each for each, b in table.blocks.items()}
    parent, salt, count, size = None, prompt.salt, 0, table.block_size
    while (tokens := prompt.token_ids[count * size : (count + 1) * size]) and len(tokens) == size:
        found = by_content.get((parent, tokens, prompt.lora, salt))
        if found is None:
            break
        parent, salt, count = found, None, count + 1
    return count


class _Pair:
    """One pod's table and dump, with what all pods announced."""

    def __init__(self, table: BlockTable, dump: IndexDump, found: Mapping[str, Story], seed: int) -> None:
        self._table, self._dump, self._seed = table, dump, seed
        self._story = found.get(table.pod, Story())
        self._story.reach(table.epoch)
        self._others = {pod: story for pod, story in found.items() if pod != table.pod}
        self._own = _own_hashes(table, seed)

    def violations(self) -> Iterator[Violation]:
        table, dump = self._table, self._dump
        if (dump.last if dump.last is not None else -1) != table.seq or dump.state != "exact":
            evidence = f"state {dump.state}, last batch {dump.last}, published {table.seq}"
            yield self._violation("unconverged", "not everything published was applied", evidence)
        lost = {each for each in table.blocks if each not in dump.blocks}
        self._missed_restart = any(
            each not in table.blocks and each in self._story.lives and not self._story.lives[each].stored
            for each in dump.blocks
        )
        yield from (self._lost(each, lost) for each in table.blocks if each in lost)
        yield from (self._phantom(each) for each in dump.blocks if each not in table.blocks)
        for each in table.blocks:
            if each not in lost:
                yield from self._filed(each)

    def _violation(self, kind: ViolationKind, cause: str, evidence: str) -> Violation:
        return Violation(kind=kind, pod=self._table.pod, cause=cause, evidence=evidence)

    def _lost(self, block: int, lost: set[int]) -> Violation:
        life = self._story.lives.get(block, NO_LIFE)
        evidence = f"block {block:016x}, stored in batch {_newest(life.stored)}"
        parent = self._table.blocks[block].parent
        if not self._story.lives:
            cause = "unknown: nothing was written down of what this pod announced"
        elif not life.stored:
            cause = "the pod never announced it: a defect of the publisher"
        elif life.removed:
            cause = (
                "the pod removed one copy and holds another: copies are not counted, or events were "
                "applied out of order"
            )
            evidence += f", removed in batch {_newest(life.removed)}"
        elif remover := self._removed_by_other(block):
            cause = f"pod {remover[0]} removed it: a removal reached more than the pod that sent it"
            evidence += f", removed by {remover[0]} in its batch {remover[1]}"
        elif self._missed_restart:
            cause = "the pod's restart was not noticed: what it published since then was not applied"
        elif set(batch := self._story.batches[life.stored[-1]]) & set(self._table.blocks) <= lost:
            cause = "nothing of its batch was applied: a gap was not replayed"
        elif parent in batch:
            cause = "its parent is in the same event: the chain is broken inside an event"
            evidence += f", parent {parent:016x}"
        elif parent in lost:
            cause = PARENT_LOST
        else:
            cause = "other blocks of its batch were applied"
        return self._violation("lost", cause, evidence)

    def _removed_by_other(self, block: int) -> tuple[str, int] | None:
        for pod, story in self._others.items():
            life = story.lives.get(block, NO_LIFE)
            if gone := [*life.removed, *life.cleared]:
                return pod, gone[-1]
        return None

    def _phantom(self, block: int) -> Violation:
        life = self._story.lives.get(block)
        evidence = f"block {block:016x}"
        kind: ViolationKind = "phantom"
        if not self._story.lives and not self._others:
            cause = "unknown: nothing was written down of what the pods announced"
        elif life is None:
            owners = [pod for pod, story in self._others.items() if block in story.lives]
            cause = f"only pod {owners[0]} stored it" if owners else "no pod ever announced it"
            kind = "isolation" if owners else "phantom"
        elif not life.stored:
            cause = "it was stored before the pod restarted: the restart was not noticed"
        elif life.cleared and life.cleared[-1] >= life.stored[-1]:
            cause = "the pod cleared its cache: the clearing was not applied"
            evidence += f", cleared in batch {life.cleared[-1]}"
        elif len(life.removed) >= len(life.stored):
            cause = "the pod removed it: the removal was not applied"
            evidence += f", removed in batch {life.removed[-1]}"
        else:
            cause = "the pod did not announce its removal: a defect of the publisher"
        return self._violation(kind, cause, evidence)

    def _filed(self, block: int) -> Iterator[Violation]:
        entry, held = self._dump.blocks[block], self._table.blocks[block]
        if entry.lora != held.lora:
            evidence = f"block {block:016x}: filed under {entry.lora!r}, computed with {held.lora!r}"
            yield self._violation("isolation", "filed under another LoRA adapter", evidence)
        own = self._own.get(block)
        if own is not None and entry.own != own:
            evidence = f"block {block:016x}: own hash {entry.own:016x}, its tokens give {own:016x}"
            yield self._violation("misfiled", self._misfiling(block, entry.own), evidence)

    def _misfiling(self, block: int, filed: int) -> str:
        held = self._table.blocks[block]
        parent = self._dump.blocks.get(held.parent) if held.parent is not None else None
        if parent and filed == self._hash(held, parent.own):
            return PARENT_MISFILED
        if not any(filed == self._hash(held, own) for own in self._before(held.parent)):
            return "its hash comes from none of its ancestors: other tokens or other extra keys"
        life = self._story.lives.get(block, NO_LIFE)
        if life.stored and held.parent in self._story.batches[life.stored[-1]]:
            return "hashed after another block than its parent: the chain is broken inside an event"
        return "hashed after another block than its parent: an orphan was taken for a root"

    def _before(self, parent: int | None) -> Iterator[int | None]:
        """Yield the own hashes of a parent's ancestors, and None for the root."""
        while parent is not None and parent in self._own:
            parent = self._table.blocks[parent].parent
            if parent is not None:
                yield self._own.get(parent)
        yield None

    def _hash(self, block: Block, parent: int | None) -> int:
        return _own_hash(block, self._table.block_size, parent, self._seed)


def _own_hashes(table: BlockTable, seed: int) -> dict[int, int]:
    """Return the own hash of each block whose chain is resident up to the root."""
    own: dict[int, int] = {}
    for start in table.blocks:
        path, block = [], start
        while block not in own and block in table.blocks:
            path.append(block)
            parent = table.blocks[block].parent
            if parent is None:
                break
            block = parent
        for each in reversed(path):
            held = table.blocks[each]
            if held.parent is None or held.parent in own:
                parent_own = own[held.parent] if held.parent is not None else None
                own[each] = _own_hash(held, table.block_size, parent_own, seed)
    return own


def _own_hash(block: Block, block_size: int, parent: int | None, seed: int) -> int:
    extra = [(block.salt,)] if block.salt is not None else None
    return block_hashes(block.token_ids, block_size, seed=seed, parent=parent, extra=extra)[0]


def _newest(batches: Sequence[int]) -> str:
    return str(batches[-1]) if batches else "?"
