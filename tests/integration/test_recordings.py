"""What real engines sent: every frame is understood, and the index ends with the engine's own blocks.

The recordings are those beside this file (their README says what they are) and those of the folder that
`KVSYNC_CI_RECORDINGS` names.
"""

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvsync import core
from kvsync.codec import END_SEQUENCE, decode, decode_sequence
from kvsync.events import EventBatch, Source
from kvsync.index import PrefixIndex, Prompt, lookup
from tests.property.test_native_index_properties import Pair

SOURCE = Source("engine", "model")
VARIABLE = "KVSYNC_CI_RECORDINGS"
HERE = Path(__file__).parent / "recordings"
FOLDERS = [HERE, *(Path(each) for each in [os.environ.get(VARIABLE)] if each)]
FILES = [file for folder in FOLDERS for file in sorted(folder.glob("*.hex.gz"))]
TRUTHS = [file for folder in FOLDERS for file in sorted(folder.glob("*-truth.json"))]
EXPLAINED = {"stored", "removed", "group_stored", "group_removed", "lora_by_id", "reannounced", "unkeyed"}


def find(name: str) -> Path:
    """The recording of a name, if it is here."""
    for file in FILES:
        if file.name == f"{name}.hex.gz":
            return file
    pytest.skip(f"{VARIABLE} names no folder with {name}")


def messages(file: Path) -> Iterator[tuple[str, int, bytes]]:
    """Read how each batch came, its number and its payload."""
    with gzip.open(file, "rt") as lines:
        for line in lines:
            kind, *frames = line.split()
            *_, number, payload = (b"" if frame == "-" else bytes.fromhex(frame) for frame in frames)
            if number != END_SEQUENCE:
                yield kind, decode_sequence(number), payload


def batches(file: Path) -> dict[int, EventBatch]:
    """Read every batch once, in order, by its number."""
    payloads = {number: payload for _, number, payload in messages(file)}
    return {number: decode(payload) for number, payload in sorted(payloads.items())}


def applied(file: Path) -> tuple[PrefixIndex, Counter[str]]:
    """Apply all batches to an index; gives it and what they did."""
    index, effects = PrefixIndex(), Counter[str]()
    for batch in batches(file).values():
        for effect in index.apply_batch(SOURCE, batch.events):
            effects.update(effect)
    return index, effects


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_event_is_understood(file: Path) -> None:
    """No batch and no event of any engine is skipped, and nothing that one says contradicts the rest."""
    index, effects = applied(file)

    assert [event for batch in batches(file).values() for event in batch.skipped] == []
    assert effects.keys() <= EXPLAINED
    assert index.blocks_total > 0
    assert index.orphans(SOURCE) == 0


@pytest.mark.skipif(core.built is None, reason="the compiled core was not built here")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_both_cores_hold_the_same(file: Path) -> None:
    """What a real engine sent counts alike, and leaves equal blocks, copies, groups and digests."""
    pair = Pair(1_000_000)
    for payload in dict(sorted((number, payload) for _, number, payload in messages(file))).values():
        pair.apply(SOURCE, payload)

    pair.check(SOURCE)


def test_live_and_replayed_batches_agree() -> None:
    """A batch has the same bytes on both ways, which is what a restart is told by."""
    compared = 0
    for file in FILES:
        came: dict[str, dict[int, bytes]] = {"live": {}, "replay": {}}
        for kind, number, payload in messages(file):
            came[kind][number] = payload
        both = came["live"].keys() & came["replay"].keys()
        assert [came["live"][number] for number in both] == [came["replay"][number] for number in both]
        compared += len(both)

    assert compared > 0


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda file: file.name)
def test_the_index_holds_what_the_engine_holds(truth: Path) -> None:
    """After the last batch, the engine's own table has the same blocks in every group, and as many copies.

    That includes an engine whose clients asked for hits to be announced again.
    """
    name = truth.name.removesuffix("-truth.json")
    (file,) = (each for each in FILES if each.name in (f"{name}.hex.gz", f"{name}-with-truth.hex.gz"))
    index, _ = applied(file)
    blocks: dict[str, dict[str, int]] = json.loads(truth.read_text())["blocks"]

    assert index.tables(SOURCE) == {
        int(group): {int(engine_hash[-16:], 16): copies for engine_hash, copies in table.items()}
        for group, table in blocks.items()
    }


def test_hybrid_models_reuse_what_is_predicted() -> None:
    """Before each request, the index says how many tokens a model with sliding windows will not compute."""
    file = find("vllm-0.32.0-gemma3")
    with gzip.open(HERE / "vllm-0.32.0-gemma3-requests.json.gz") as lines:
        requests = json.load(lines)
    index, waiting = PrefixIndex(), batches(file)
    predicted = []
    for request in requests:
        for number in [each for each in waiting if each <= request["after"]]:
            index.apply_batch(SOURCE, waiting.pop(number).events)
        prompt = Prompt(model="model", tokens=request["prompt"], salt=request.get("cache_salt"))
        matches = lookup(index, prompt)
        predicted.append(matches[SOURCE].cached_tokens if matches else 0)

    assert predicted == [request["cached"] for request in requests]
    assert sum(predicted) > 10_000


def test_pairs_of_tokens_are_blocks_like_others() -> None:
    """SGLang with EAGLE names each token together with the next; every block finds its place."""
    index, effects = applied(find("sglang-0.5.23-16-60-eagle"))

    assert effects["stored"] > 0
    assert index.blocks_total == effects["stored"] - effects["removed"]


def test_adapters_named_by_number_alone_are_told_apart() -> None:
    """vLLM before 0.14 names no adapter; its blocks are filed under their numbers."""
    index, effects = applied(find("vllm-0.11.2-lora-id-full"))

    assert effects["lora_by_id"] > 0
    assert index.lora_ids(SOURCE) == {1, 2}
    assert {lora for lora, _ in index.blocks(SOURCE).values()} == {"", "#1", "#2"}
