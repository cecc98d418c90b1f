"""What real engines sent: every frame is understood, and the index ends with the engine's own blocks.

`KVSYNC_CI_RECORDINGS` names a folder of recordings: `*.hex.gz` with a message a line, `live` or `replay` and
its frames in hexadecimal (`-`: an empty one), and `*-truth.json` with the engine's own block table after the
last.
"""

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvsync.codec import END_SEQUENCE, decode, decode_sequence
from kvsync.events import EventBatch, Source
from kvsync.index import PrefixIndex

SOURCE = Source("engine", "model")
VARIABLE = "KVSYNC_CI_RECORDINGS"


@pytest.fixture
def recordings() -> Path:
    """The folder of recordings, if there is one here."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} names no folder with recordings of engines")
    return Path(folder)


def messages(file: Path) -> Iterator[tuple[str, int, bytes]]:
    """Read how each batch came, its number and its payload."""
    with gzip.open(file, "rt") as lines:
        for line in lines:
            kind, *frames = line.split()
            *_, number, payload = (b"" if frame == "-" else bytes.fromhex(frame) for frame in frames)
            if number != END_SEQUENCE:
                yield kind, decode_sequence(number), payload


def batches(file: Path) -> list[EventBatch]:
    """Read every batch once, in order."""
    payloads = {number: payload for _, number, payload in messages(file)}
    return [decode(payload) for _, payload in sorted(payloads.items())]


def applied(file: Path, block_size: int) -> tuple[PrefixIndex, Counter[str]]:
    """Apply all batches to an index; gives it and what they did."""
    index, effects = PrefixIndex(block_size), Counter[str]()
    for batch in batches(file):
        for event in batch.events:
            effects.update(index.apply(SOURCE, event))
    return index, effects


def test_every_event_is_understood(recordings: Path) -> None:
    """No batch and no event of any engine is skipped."""
    skipped = {
        file.name: [event for batch in batches(file) for event in batch.skipped]
        for file in sorted(recordings.glob("*.hex.gz"))
    }

    assert skipped == {name: [] for name in skipped}
    assert skipped


def test_live_and_replayed_batches_agree(recordings: Path) -> None:
    """A batch has the same bytes on both ways, which is what a restart is told by."""
    compared = 0
    for file in recordings.glob("*.hex.gz"):
        came: dict[str, dict[int, bytes]] = {"live": {}, "replay": {}}
        for kind, number, payload in messages(file):
            came[kind][number] = payload
        both = came["live"].keys() & came["replay"].keys()
        assert [came["live"][number] for number in both] == [came["replay"][number] for number in both]
        compared += len(both)

    assert compared > 0


def test_the_index_holds_what_the_engine_holds(recordings: Path) -> None:
    """After the last batch, the engine's own table has the same blocks."""
    index, effects = applied(recordings / "vllm-0.32.0-b-with-truth.hex.gz", block_size=32)
    truth = json.loads((recordings / "vllm-0.32.0-b-truth.json").read_text())

    held = index.blocks(SOURCE).keys()
    assert held == {int(engine_hash[-16:], 16) for engine_hash in truth["blocks"]["0"]}
    assert (index.orphans(SOURCE), effects["mismatched"], effects["unknown_removed"]) == (0, 0, 0)


def test_pairs_of_tokens_are_blocks_like_others(recordings: Path) -> None:
    """SGLang with EAGLE names each token together with the next; every block finds its place."""
    index, effects = applied(recordings / "sglang-0.5.23-16-60-eagle.hex.gz", block_size=16)

    assert effects["stored"] > 0
    assert index.blocks_total == effects["stored"] - effects["removed"]
    assert effects.keys() <= {"stored", "removed"}
