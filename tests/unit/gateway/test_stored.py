"""Which pod keeps which response."""

from kvsync.gateway.answers.stored import StoredResponses


def test_the_last_responses_are_remembered() -> None:
    """By the id at the beginning of an answer, whole or streamed; beyond the bound the oldest go."""
    stored = StoredResponses(2)

    noted = [
        stored.note(b'{"id":"resp_1","object":"response"', "a"),
        stored.note(b'event: response.created\ndata: {"response":{"id": "resp_2"', "b"),
        stored.note(b'{"error":{"message":"no"}}', "b"),
        stored.note(b'{"id":"resp_3"}', "a"),
    ]

    assert noted == [True, True, False, True]
    assert [stored.pod_of(f"resp_{each}") for each in "123"] == [None, "b", "a"]


def test_nothing_is_remembered_without_room() -> None:
    """By setting."""
    stored = StoredResponses(0)
    stored.note(b'{"id":"resp_1"}', "a")

    assert stored.pod_of("resp_1") is None
