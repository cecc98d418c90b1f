"""The oracle finds every way in which an index can be wrong, and names its cause."""

import random
from dataclasses import replace

import pytest

from kvsync.hashing import block_hashes
from kvsync.testing.oracle.announcements import Announcement, announcements
from kvsync.testing.oracle.diagnosis import compare, matches, prompts
from kvsync.testing.oracle.tables import (
    Block,
    BlockTable,
    Comparison,
    IndexDump,
    IndexEntry,
    Lookup,
    LookupPrompt,
)

FIRST, SECOND, THIRD = (1, 2), (3, 4), (5, 6)
"""The tokens of the three blocks 0xa, 0xb and 0xc of one chain."""
OWN = dict(zip((0xA, 0xB, 0xC), block_hashes(FIRST + SECOND + THIRD, 2), strict=True))


def table(pod: str = "p", epoch: int = 1, **changed: Block | None) -> BlockTable:
    """A pod that holds the chain a-b-c; a block can be replaced or left out."""
    chain: dict[str, Block | None] = {
        "a": Block(parent=None, token_ids=FIRST),
        "b": Block(parent=0xA, token_ids=SECOND),
        "c": Block(parent=0xB, token_ids=THIRD),
    }
    blocks = {int(name, 16): block for name, block in (chain | changed).items() if block}
    return BlockTable(pod=pod, model="m", epoch=epoch, seq=1, block_size=2, blocks=blocks)


def dump(
    pod: str = "p", last: int = 1, state: str = "exact", missing: str = "", **changed: IndexEntry
) -> IndexDump:
    """What a right index says of such a pod; an entry can be replaced, and some can be missing."""
    entries = {each: IndexEntry(own=own) for each, own in OWN.items()}
    entries |= {int(name, 16): entry for name, entry in changed.items()}
    blocks = {each: entry for each, entry in entries.items() if f"{each:x}" not in missing}
    return IndexDump(pod=pod, model="m", state=state, last=last, blocks=blocks)


def batch(
    pod: str, seq: int, stored: str = "", *, removed: str = "", cleared: bool = False, epoch: int = 1
) -> Announcement:
    """A batch about blocks named by their hexadecimal digits."""
    return Announcement(
        pod=pod,
        model="m",
        epoch=epoch,
        seq=seq,
        t_mono=float(seq),
        stored=tuple(int(each, 16) for each in stored),
        removed=tuple(int(each, 16) for each in removed),
        cleared=cleared,
    )


def found(comparison: Comparison) -> list[tuple[str, str]]:
    """The kind and cause of each violation."""
    return [(each.kind, each.cause) for each in comparison.violations]


TOLD = (batch("p", 0, "a"), batch("p", 1, "bc"))


def test_a_right_index_has_no_violation() -> None:
    """What agrees is counted and not blamed."""
    comparison = compare([table()], [dump()], TOLD)

    assert comparison.violations == ()
    assert (comparison.blocks, comparison.pods) == (3, 1)


@pytest.mark.parametrize(
    ("told", "missing", "cause"),
    [
        pytest.param(
            (*TOLD, batch("q", 0, "c"), batch("q", 1, removed="c")),
            "c",
            "pod q removed it: a removal reached more than the pod that sent it",
            id="removal reached another pod",
        ),
        pytest.param(
            (*TOLD, batch("q", 0, "c"), batch("q", 1, cleared=True)),
            "c",
            "pod q removed it: a removal reached more than the pod that sent it",
            id="clearing reached another pod",
        ),
        pytest.param(
            TOLD,
            "c",
            "its parent is in the same event: the chain is broken inside an event",
            id="chain broken inside an event",
        ),
        pytest.param(
            TOLD,
            "bc",
            "nothing of its batch was applied: a gap was not replayed",
            id="a whole batch is missing",
        ),
        pytest.param(
            (batch("p", 0, "a"), batch("p", 1, "bcc"), batch("p", 2, removed="c")),
            "c",
            "the pod removed one copy and holds another: copies are not counted, or events were applied "
            "out of order",
            id="one of two copies removed",
        ),
        pytest.param(
            TOLD[:1], "bc", "the pod never announced it: a defect of the publisher", id="never announced"
        ),
        pytest.param(
            (),
            "bc",
            "unknown: nothing was written down of what this pod announced",
            id="without announcements",
        ),
        pytest.param(TOLD, "b", "other blocks of its batch were applied", id="one block of a batch"),
    ],
)
def test_a_lost_block_has_a_cause(told: tuple[Announcement, ...], missing: str, cause: str) -> None:
    """What the pod holds and the index does not is lost, for the reason that the announcements show."""
    comparison = compare([table()], [dump(missing=missing)], told)

    assert found(comparison) == [("lost", cause)] * len(missing)


@pytest.mark.parametrize(
    ("told", "kind", "cause"),
    [
        pytest.param(
            (*TOLD, batch("p", 2, removed="c")),
            "phantom",
            "the pod removed it: the removal was not applied",
            id="removal not applied",
        ),
        pytest.param(
            (*TOLD, batch("p", 2, cleared=True), batch("p", 3, "ab")),
            "phantom",
            "the pod cleared its cache: the clearing was not applied",
            id="clearing not applied",
        ),
        pytest.param(
            (
                batch("p", 0, "a", epoch=0),
                batch("p", 1, "c", epoch=0),
                batch("p", 0, "a"),
                batch("p", 1, "b"),
            ),
            "phantom",
            "it was stored before the pod restarted: the restart was not noticed",
            id="restart not noticed",
        ),
        pytest.param(
            tuple(batch("p", number, each, epoch=0) for number, each in enumerate("abc")),
            "phantom",
            "it was stored before the pod restarted: the restart was not noticed",
            id="restart not noticed, nothing published since",
        ),
        pytest.param(
            (batch("p", 0, "a"), batch("p", 1, "b"), batch("q", 0, "c")),
            "isolation",
            "only pod q stored it",
            id="stored by another pod",
        ),
        pytest.param(
            (batch("p", 0, "a"), batch("p", 1, "b")),
            "phantom",
            "no pod ever announced it",
            id="never announced",
        ),
        pytest.param(
            (batch("p", 0, "a"), batch("p", 1, "bc")),
            "phantom",
            "the pod did not announce its removal: a defect of the publisher",
            id="removal never announced",
        ),
        pytest.param(
            (),
            "phantom",
            "unknown: nothing was written down of what the pods announced",
            id="without announcements",
        ),
    ],
)
def test_a_phantom_block_has_a_cause(told: tuple[Announcement, ...], kind: str, cause: str) -> None:
    """What the index holds and the pod does not is a phantom, or belongs to another pod."""
    assert found(compare([table(c=None)], [dump()], told)) == [(kind, cause)]


@pytest.mark.parametrize(
    ("told", "own", "cause"),
    [
        pytest.param(
            TOLD,
            block_hashes(THIRD, 2, parent=OWN[0xA])[0],
            "hashed after another block than its parent: the chain is broken inside an event",
            id="chained to the parent of its event",
        ),
        pytest.param(
            (batch("p", 0, "ab"), batch("p", 1, "c")),
            block_hashes(THIRD, 2)[0],
            "hashed after another block than its parent: an orphan was taken for a root",
            id="an orphan taken for a root",
        ),
        pytest.param(
            TOLD,
            block_hashes((5, 7), 2, parent=OWN[0xB])[0],
            "its hash comes from none of its ancestors: other tokens or other extra keys",
            id="other tokens",
        ),
    ],
)
def test_a_block_under_a_wrong_hash_has_a_cause(told: tuple[Announcement, ...], own: int, cause: str) -> None:
    """A block that its prompt cannot find is misfiled, and the parent it was given is found out."""
    assert found(compare([table()], [dump(c=IndexEntry(own=own))], told)) == [("misfiled", cause)]


def test_children_of_a_misfiled_block_do_not_hide_the_first() -> None:
    """A chain that goes wrong once is blamed once, its descendants follow from it."""
    wrong = 99
    after = block_hashes(THIRD, 2, parent=wrong)[0]

    assert found(compare([table()], [dump(b=IndexEntry(own=wrong), c=IndexEntry(own=after))], TOLD)) == [
        ("misfiled", "its hash comes from none of its ancestors: other tokens or other extra keys"),
        ("misfiled", "its parent is filed wrongly too"),
    ]


def test_a_salt_enters_the_own_hash_of_the_root() -> None:
    """The same tokens with a cache salt are another block."""
    salted = Block(parent=None, token_ids=FIRST, salt="tenant")
    own = block_hashes(FIRST, 2, extra=[("tenant",)])[0]
    held = table(a=salted, b=None, c=None)

    assert compare([held], [dump(missing="bc", a=IndexEntry(own=own))]).violations == ()
    assert [kind for kind, _ in found(compare([held], [dump(missing="bc")]))] == ["misfiled"]


def test_what_came_after_a_missed_restart_has_its_cause() -> None:
    """Blocks of the new incarnation that are lost are blamed on the restart, as the old ones are."""
    told = (batch("p", 0, "c", epoch=0), batch("p", 0, "a"), batch("p", 1, "b"))
    comparison = compare([table(c=None)], [dump(missing="ab")], told)

    assert {(each.kind, each.cause) for each in comparison.violations} == {
        ("lost", "the pod's restart was not noticed: what it published since then was not applied"),
        ("phantom", "it was stored before the pod restarted: the restart was not noticed"),
    }


def test_a_block_under_another_adapter_is_no_isolation() -> None:
    """The adapter of an entry is the one that its block was computed with."""
    comparison = compare([table()], [dump(c=IndexEntry(own=OWN[0xC], lora="sql"))], TOLD)

    assert found(comparison) == [("isolation", "filed under another LoRA adapter")]


def test_a_block_whose_parent_was_evicted_is_not_judged_by_hash() -> None:
    """Without all tokens before it the right own hash is not known; that it is held still counts."""
    assert compare([table(b=None)], [dump(missing="b", c=IndexEntry(own=7))]).violations == ()


@pytest.mark.parametrize(
    ("believed", "evidence"),
    [
        pytest.param(dump(last=0), "state exact, last batch 0, published 1", id="behind"),
        pytest.param(
            dump(state="degraded"), "state degraded, last batch 1, published 1", id="does not trust itself"
        ),
    ],
)
def test_an_index_that_is_not_done_is_unconverged(believed: IndexDump, evidence: str) -> None:
    """Right blocks are not enough: the index must have everything, and know it."""
    (violation,) = compare([table()], [believed], TOLD).violations

    assert (violation.kind, violation.evidence) == ("unconverged", evidence)


def test_a_pod_and_its_entries_come_and_go_together() -> None:
    """An unknown pod and the entries of a pod that is gone are both found."""
    comparison = compare([table("new")], [dump("old")], TOLD)

    assert [(each.kind, each.pod) for each in comparison.violations] == [
        ("phantom", "old"),
        ("unconverged", "new"),
    ]


def test_blocks_that_no_dump_shows_are_phantoms() -> None:
    """An index that holds more than the pods it follows has kept those of a pod that went."""
    assert compare([table()], [dump()], TOLD, indexed=3).violations == ()
    (violation,) = compare([table()], [dump()], TOLD, indexed=5).violations

    assert (violation.kind, violation.evidence) == (
        "phantom",
        "5 blocks in all, 3 of pods that are followed",
    )


def test_a_pod_that_published_nothing_is_converged() -> None:
    """Nothing published and nothing applied agree."""
    silent = BlockTable(pod="p", model="m", epoch=1, seq=-1, block_size=2, blocks={})
    empty = IndexDump(pod="p", model="m", state="exact", last=None, blocks={})

    assert compare([silent], [empty]).violations == ()


def test_the_message_groups_by_cause_with_an_example() -> None:
    """A hundred blocks lost for one reason are one line, before what says less."""
    comparison = compare([table()], [dump(state="degraded", missing="bc")], TOLD)

    assert str(comparison) == (
        "lost: 2 on pod p: nothing of its batch was applied: a gap was not replayed "
        "(such as block 000000000000000b, stored in batch 1)\n"
        "unconverged: 1 on pod p: not everything published was applied "
        "(such as state degraded, last batch 1, published 1)\n"
        "3 violations in 3 blocks of 1 pods and 0 lookups"
    )


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        pytest.param(FIRST + SECOND + THIRD, {"p": 3, "q": 1}, id="each pod from the root to its first hole"),
        pytest.param((*FIRST, *SECOND, 9), {"p": 2, "q": 1}, id="an incomplete block does not count"),
        pytest.param(SECOND, {}, id="the middle of a chain is no prefix"),
    ],
)
def test_a_prompt_matches_what_pods_hold_from_its_beginning(
    prompt: tuple[int, ...], expected: dict[str, int]
) -> None:
    """The right answer to a lookup follows from the tables alone."""
    tables = [table("p"), table("q", b=None), replace(table("r"), model="other")]

    assert matches(tables, LookupPrompt(model="m", lora="", salt=None, token_ids=prompt)) == expected


def test_a_wrong_lookup_is_a_violation() -> None:
    """A prompt for which the index promises less or more than the pod holds is named."""
    prompt = LookupPrompt(model="m", lora="", salt=None, token_ids=FIRST + SECOND)
    comparison = compare([table()], [dump()], TOLD, [Lookup(prompt=prompt, matched={"p": 1, "q": 2})])

    assert found(comparison) == [
        ("lookup", "a prompt matches fewer blocks than the pod holds"),
        ("lookup", "a prompt matches more blocks than the pod holds"),
    ]


def test_prompts_to_look_up_lead_from_a_root_to_a_held_block() -> None:
    """Chosen prompts can be matched completely on the pod they were taken from."""
    chosen = prompts([table()], random.Random(1), 10)

    assert sorted(prompt.token_ids for prompt in chosen) == [
        FIRST,
        FIRST + SECOND,
        FIRST + SECOND + THIRD,
    ]


def test_announcements_are_read_from_a_history() -> None:
    """Publish records become batches with hashes as numbers; other records are passed over."""
    record = {
        "f": "publish",
        "pod": "p",
        "model": "m",
        "epoch": 9,
        "seq": 4,
        "t_mono": 1.5,
        "stored": ["000000000000000a"],
        "removed": [],
        "cleared": True,
    }

    assert announcements([{"f": "request"}, dict(record)]) == [
        Announcement(pod="p", model="m", epoch=9, seq=4, t_mono=1.5, stored=(10,), cleared=True)
    ]
    with pytest.raises(ValueError, match="no publish record"):
        announcements([{"f": "publish", "pod": "p"}])
