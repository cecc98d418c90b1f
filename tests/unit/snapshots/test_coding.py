"""Snapshots as bytes: what comes back is what went in, and what is damaged says how."""

import pytest

from kvsync.errors import SnapshotError
from kvsync.events import BlockStored, Source
from kvsync.hashing import block_hashes
from kvsync.index import PrefixIndex
from kvsync.sequence import Memory
from kvsync.snapshots.coding import HEADER_BYTES, MAX_BYTES, VERSION, decode, encode
from kvsync.snapshots.peer import Parts
from kvsync.snapshots.snapshot import SourceSnapshot, unfit
from kvsync.sources.content import Content, LeftOut

SOURCE = Source("engine-0", "llama", 1)

BEGINNING = bytes.fromhex("4b56534e41500d0a 0100")
"""What snapshots of this version begin with, in this release and in all later ones that read it."""


def hybrid() -> PrefixIndex:
    """Return an index with everything that a source can have."""
    index = PrefixIndex()

    def stored(hashes: tuple[int, ...], parent: int | None, first: int, **more: object) -> None:
        tokens = tuple(range(first, first + 2 * len(hashes)))
        given = {"block_hashes": hashes, "parent_block_hash": parent, "token_ids": tokens, "block_size": 2}
        index.apply(SOURCE, BlockStored(**given | more))  # type: ignore[arg-type]

    full = {"group_idx": 1, "spec_kind": "full_attention"}
    window = {"group_idx": 0, "spec_kind": "sliding_window", "sliding_window": 3}
    stored((2**64 - 1, 12), None, 1, extra_keys=(("salt", b"x", (1, 2)), None), **full)
    stored((12,), 2**64 - 1, 3, **full)  # a second copy
    stored((13,), 12, 5, lora_id=7, **full)
    stored(
        (21,), 20, 9, lora_name="tuned", extra_keys=(("tuned", "salt"),), **full
    )  # its parent is not known
    stored((2**64 - 1, 12), None, 1, **window)
    return index


def snapshot() -> SourceSnapshot:
    """Return a snapshot of all that."""
    held = hybrid().held(SOURCE)
    assert held is not None
    return SourceSnapshot(
        source=SOURCE,
        endpoint="tcp://10.0.0.1:5558",
        replay_endpoint="tcp://10.0.0.1:5560",
        made_at=1_790_000_000.5,
        hash_seed=2**64 - 1,
        memory=Memory(last=40, digests=(1, 2**64 - 1), flaw="history before frame 3 is gone", healable=True),
        left_out=(LeftOut("skipped_medium", "CPU", 9, "blocks in CPU are left out"),),
        held=held,
    )


def test_everything_comes_back() -> None:
    """What is read is equal to what was written, down to salts, copies, adapters, groups and orphans."""
    before = snapshot()
    assert (before.blocks, len(before.held.orphans), len(before.held.groups)) == (3, 1, 1)

    stored = encode(before)

    assert decode(stored) == before
    assert stored.startswith(BEGINNING)


def test_a_restored_source_is_matched_as_before() -> None:
    """Groups, salts and adapters have their effect in the new index, too."""
    index = PrefixIndex()
    index.restore(SOURCE, decode(encode(snapshot())).held)

    hashes = block_hashes(range(1, 5), 2, extra=[("salt", b"x", (1, 2))])
    assert hybrid().match("llama", "", hashes, block_size=2) == {"engine-0": 2}
    assert index.match("llama", "", hashes, block_size=2) == {"engine-0": 2}
    assert index.match_sources("llama", "", hashes, block_size=2, keyed=False) == {}
    assert (index.lora_ids(SOURCE), index.has_groups) == ({7}, True)
    assert index.tables(SOURCE) == hybrid().tables(SOURCE)


def test_what_is_left_out_goes_on() -> None:
    """The reason why a source is not exact is known after a restart, and ends as before."""
    content = Content(snapshot().left_out)

    assert content.flaw == "blocks in CPU are left out"
    assert (content.kept, content.left_out) == (snapshot().left_out, {"skipped_medium": 9})


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        (b"", "cut off after 0 bytes"),
        (encode(snapshot())[: HEADER_BYTES - 1], f"cut off after {HEADER_BYTES - 1} bytes"),
        (encode(snapshot())[:-7], "cut off: 7 of its"),
        (encode(snapshot()) + b"x", "1 bytes follow its end"),
        (b"PK\x03\x04" + bytes(100), "does not begin as a snapshot does"),
        (encode(snapshot()).replace(b"\r\n", b"\n", 1), "does not begin as a snapshot does"),
        (
            BEGINNING[:8] + b"\x02\x00" + encode(snapshot())[10:],
            "has version 2, this release reads version 1",
        ),
        (BEGINNING + (MAX_BYTES + 1).to_bytes(8, "little") + bytes(16), "at most"),
        (encode(snapshot())[:-1] + b"\x00", "checksum is wrong"),
    ],
    ids=["empty", "short", "truncated", "longer", "foreign", "as text", "version", "huge", "damaged"],
)
def test_what_is_damaged_says_how(stored: bytes, says: str) -> None:
    """Each kind of damage is one clear sentence."""
    with pytest.raises(SnapshotError, match=says):
        decode(stored)


def test_each_bit_counts() -> None:
    """A flipped bit anywhere is noticed."""
    stored = encode(snapshot())
    for place in range(len(stored)):
        broken = bytearray(stored)
        broken[place] ^= 1
        with pytest.raises(SnapshotError):
            decode(bytes(broken))


def test_content_that_is_not_understood() -> None:
    """A body with a right checksum that is something else names what it lacks."""
    import msgpack  # type: ignore[import-untyped]  # ships no type information
    from xxhash import xxh3_128_digest

    for body in (msgpack.packb({"source": 1}), msgpack.packb([]), b"\xc1"):
        header = BEGINNING + len(body).to_bytes(8, "little") + xxh3_128_digest(body)
        with pytest.raises(SnapshotError, match="not understood"):
            decode(header + body)
    assert VERSION == 1


def test_a_stream_is_cut_into_snapshots() -> None:
    """However the bytes arrive, each snapshot is there with its last byte; a rest is an error."""
    one = encode(snapshot())
    parts = Parts()

    assert parts.feed(one[:5]) == []
    assert parts.feed(one[5:] + one + one[:9]) == [snapshot()] * 2
    with pytest.raises(SnapshotError, match="9 bytes of a snapshot that was cut off"):
        parts.end()


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ({}, ""),
        ({"replay_endpoint": None}, "nothing can prove it"),
        ({"endpoint": "tcp://10.0.0.2:5558"}, "its publisher was at tcp://10.0.0.1:5558"),
        ({"hash_seed": 0}, "which is 0 now"),
        ({"block_size": 16}, "its blocks are of 2 tokens, and block_size is 16 now"),
        ({"block_size": 2}, ""),
    ],
    ids=["as it was", "no replays", "elsewhere", "seed", "block size", "its block size"],
)
def test_what_does_not_fit_is_not_used(now: dict[str, object], says: str) -> None:
    """A snapshot of another place, or made with other settings, says what differs."""
    known = {
        "endpoint": "tcp://10.0.0.1:5558",
        "replay_endpoint": "tcp://10.0.0.1:5560",
        "hash_seed": 2**64 - 1,
        "block_size": None,
    }
    why = unfit(snapshot(), **known | now)  # type: ignore[arg-type]

    assert (why == "") == (says == "")
    assert says in why


def test_more_than_the_bounds_is_not_restored() -> None:
    """An index with room for less refuses, and knows nothing of the source."""
    index = PrefixIndex(max_blocks_per_source=2)

    with pytest.raises(ValueError, match="3 blocks of 2 tokens"):
        index.restore(SOURCE, snapshot().held)
    assert (index.size(SOURCE), index.sources(), index.block_sizes("llama")) == (0, [], [])
