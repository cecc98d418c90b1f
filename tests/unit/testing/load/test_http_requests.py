"""Requests that are drawn: what is in them, and which of them can be sent."""

import random
from collections import Counter

import pytest

from kvsync.testing.load.http.requests import Captured, Drawing, RequestKind, Values, captured_in

WRITE = RequestKind(
    name="write",
    weight=15,
    method="POST",
    path="/{subject}?n={number}",
    headers={"X-Subject": "{subject}"},
    json_body={"list": ["{number}", "no {number}"], "nothing": "{other}", "fixed": True},
    capture={"version": "id"},
)
READ = RequestKind(name="read", weight=80, path="/{subject}/{version}")
VALUES: dict[str, Values] = {"subject": ["a b/c"], "number": {"from": 7, "to": 7}}


def test_values_are_put_where_they_are_named() -> None:
    """Quoted in a path, as they are in headers; a text in JSON that is one name becomes a number."""
    request = Drawing([WRITE], VALUES, Captured(), seed=1).draw(0.5, 2)

    assert (request.path, request.headers["X-Subject"]) == ("/a%20b%2Fc?n=7", "a b/c")
    assert request.body == b'{"list": [7, "no 7"], "nothing": "{other}", "fixed": true}'
    assert (request.at_s, request.phase, request.headers["Content-Type"]) == (0.5, 2, "application/json")


def test_what_needs_a_captured_value_waits_for_one() -> None:
    """Until an answer has given it, the other requests are sent in its place; then weights count."""
    captured = Captured()
    drawing = Drawing([WRITE, READ], VALUES, captured, seed=1)

    before = [drawing.draw(0, 0).kind.name for _ in range(20)]
    captured.keep("version", 3)
    after = Counter(drawing.draw(0, 0).kind.name for _ in range(950))

    assert set(before) == {"write"}
    assert 100 < after["write"] < 200
    assert drawing.draw(0, 0).path in ("/a%20b%2Fc/3", "/a%20b%2Fc?n=7")


def test_requests_that_all_wait_are_an_error() -> None:
    """Nothing could ever be sent."""
    reading = RequestKind(name="read", path="/{id}", capture={"id": "id"})

    with pytest.raises(LookupError, match="what no answer has given"):
        Drawing([reading], {}, Captured(), seed=1).draw(0, 0)


def test_the_same_seed_draws_the_same_requests() -> None:
    """A run can be repeated."""
    values: dict[str, Values] = {
        "subject": [str(number) for number in range(50)],
        "number": {"from": 1, "to": 9},
    }

    def drawn(seed: int) -> list[str]:
        drawing = Drawing([WRITE], values, Captured(), seed)
        return [drawing.draw(0, 0).path for _ in range(20)]

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("items.1.id", 4),
        ("name", "x"),
        ("items.9.id", None),
        ("items.id", None),
        ("yes", None),
        ("header:Location", "/items/4"),
        ("header:Nothing", None),
    ],
)
def test_what_an_answer_gives(where: str, value: object) -> None:
    """A text or a number at a place in its JSON, or a header; else nothing."""
    body = b'{"items": [{"id": 3}, {"id": 4}], "name": "x", "yes": true}'

    assert captured_in(where, {"location": "/items/4"}, body) == value
    assert captured_in("name", {}, b"no JSON") is None


def test_an_address_that_an_answer_gave_is_a_whole_path() -> None:
    """It is not quoted, and its host is left out."""
    captured = Captured()
    captured.keep("place", "http://elsewhere/items/4?full=1")

    assert (
        Drawing([RequestKind(name="x", path="/{place}")], {}, captured, 1).draw(0, 0).path.startswith("/http")
    )
    assert (
        Drawing([RequestKind(name="x", path="{place}")], {}, captured, 1).draw(0, 0).path == "/items/4?full=1"
    )


def test_only_the_latest_captured_values_are_kept() -> None:
    """A soak needs no more memory the longer it lasts."""
    captured = Captured()
    for number in range(3000):
        captured.keep("id", number)

    rng = random.Random(1)
    assert min(int(captured.draw("id", rng)) for _ in range(5000)) >= 2000
