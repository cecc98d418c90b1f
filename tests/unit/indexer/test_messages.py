"""What gateways and an indexer say to each other survives the way, in whatever pieces it comes."""

from array import array

import pytest

from kvsync.errors import IndexerError
from kvsync.events import Source
from kvsync.index import Digest, Match, Prompt
from kvsync.indexer import messages
from kvsync.indexer.values import Matches, Picture, PodStanding, SourceFacts, Version
from kvsync.sequence import Counters, State
from kvsync.sources.status import SourceStatus

A, B = Source("a", "m"), Source("b", "m", 3)

FACTS = SourceFacts(
    status=SourceStatus(
        source=B,
        endpoint="tcp://b:5557",
        replay_endpoint=None,
        state=State.DEGRADED,
        reason="some of it is lost",
        last=7,
        live=9,
        last_event_age_s=0.5,
        connected=True,
        behind_s=0.25,
        counters=Counters(gaps=1, restarts=2),
        errors={"unreadable": 3},
        batches=4,
        events=5,
    ),
    blocks=2**33,
    block_size=16,
    orphans=1,
    left_out={"dropped": 6},
    digest=Digest(2, 2**64 - 1),
    lora_ids=frozenset({1, 2}),
)


def sent(*parts: object) -> messages.Row:
    """What arrives of a message."""
    (row,) = messages.Messages().feed(messages.message(*parts))
    return row


@pytest.mark.parametrize("tokens", [(), (1, 2**32 - 1), range(100), array("I", [5, 6])], ids=repr)
def test_a_prompt_arrives(tokens: tuple[int, ...]) -> None:
    """With its tokens, whatever holds them, and all that it is matched by."""
    prompt = Prompt(model="m", lora="poet", tokens=tokens, salt="s", lora_ids={"a": 1})

    _, row = sent(1, messages.prompt_row(prompt))
    read = messages.prompt_of(row)

    assert [*read.tokens] == [*tokens]
    assert (read.model, read.lora, read.salt, read.lora_ids) == ("m", "poet", "s", {"a": 1})


def test_what_are_no_token_ids_is_refused() -> None:
    """They are unsigned and of 32 bits."""
    with pytest.raises(OverflowError):
        messages.prompt_row(Prompt(model="m", tokens=(2**32,)))


def test_an_answer_arrives() -> None:
    """With its version."""
    answer = Matches({A: Match(3, 16, 48), B: Match(1, 32, 0)}, Version("run", 12))

    _, row = sent(1, messages.answer_row(answer))

    assert messages.answer_of(row, "run") == answer


def test_standings_arrive() -> None:
    """Those of pods that are gone, too."""
    standings = {"a": PodStanding(State.EXACT, 1, 2), "b": None}

    _, _, row = sent(messages.NEWS, "standings", messages.standing_rows(standings))

    assert messages.standings_of(row) == standings


def test_a_picture_arrives() -> None:
    """All of it."""
    picture = Picture(
        version=Version("run", 12),
        hash_seed=2**64 - 1,
        sources=(FACTS,),
        blocks_total=8,
        bytes_estimated=800,
        holders=2,
        block_sizes={"m": (16, 32)},
        events={("a", "stored"): 4},
        applied={("a", "skipped_medium"): 5},
        snapshots={"read": 1},
    )

    _, row = sent(1, messages.picture_row(picture))

    assert messages.picture_of(row) == picture


def test_messages_are_put_together() -> None:
    """Byte by byte, or several at once."""
    written = messages.message(1, "one") + messages.message(2, "two", "more")
    by_byte = messages.Messages()

    each = [row for byte in written for row in by_byte.feed(bytes([byte]))]

    assert each == [*messages.Messages().feed(written)] == [(1, "one"), (2, "two", "more")]


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x01\0\0\0\xc1", b"\x01\0\0\0\x90", b"\x02\0\0\0\x92\xa1"],
    ids=["another protocol", "no msgpack", "no number", "cut off"],
)
def test_what_is_no_message_is_refused(sent: bytes) -> None:
    """With an error of ours."""
    with pytest.raises(IndexerError):
        [*messages.Messages().feed(sent)]
