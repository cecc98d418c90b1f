"""Lines that came out of a box: what is exact is kept, everything else refused."""

import gzip
import hashlib
import json
import math
from collections.abc import Callable

import pytest

from kvsync.ci.box.records import (
    NAME,
    UNPACKED_BYTES,
    Refused,
    of_comparison,
    of_history,
    of_ledger,
    of_measurements,
    of_tests,
)
from kvsync.testing.results.measurement import Measurement

FINISHED = {
    "event": "finished",
    "nodeid": "tests/unit/test_a.py::test_b",
    "outcome": "failed",
    "kind": "failed",
    "duration_s": 0.25,
    "detail": "E  assert 0\n\tindented",
    "log_tail": "",
    "properties": {"evidence": "evidence/two-0/gateway.log\nevidence/two-0/pods.json"},
}

HAPPENED = {
    "i": 1,
    "t_mono": 5.5,
    "wall": 1.8e9,
    "proc": "e2e",
    "f": "request",
    "type": "ok",
    "latency_s": 0.1,
}

MEASURED = {"name": "a", "metric": "p50", "value": 1.5, "unit": "ms", "samples": 3}


def line(record: object) -> bytes:
    """Write a line as a box may."""
    return json.dumps(record).encode() + b"\n"


@pytest.mark.parametrize(
    "record",
    [
        {"event": "collected", "count": 1, "nodeids": ["tests/unit/test_a.py::test_b"], "only": False},
        {"event": "more", "of": "collected", "nodeids": ["tests/unit/test_a.py::test_c"]},
        {"event": "started", "nodeid": "tests/unit/test_a.py::test_b[é]"},
        {"event": "evidence", "nodeid": "a", "files": "evidence/two-0/gateway.log"},
        FINISHED,
    ],
    ids=["collected", "more", "started", "evidence", "finished"],
)
def test_what_the_plugin_writes_is_kept_as_it_is(record: object) -> None:
    """Each of its events."""
    assert json.loads(of_tests(line(record))) == record


@pytest.mark.parametrize(
    "broken",
    [
        b"\n",
        b"[]\n",
        b"{\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        line({"event": "released", "id": "1"}),
        line({"event": "started"}),
        line({"event": "started", "nodeid": 7}),
        line({"event": "started", "nodeid": "a" * 5000}),
        line({"event": "started", "nodeid": "a", "more": 1}),
        line(FINISHED | {"kind": "splendid"}),
        line(FINISHED | {"duration_s": -1}),
        line(FINISHED | {"duration_s": math.nan}),
        line(FINISHED | {"detail": "a" * 200_000}),
        line(FINISHED | {"properties": {str(number): "" for number in range(101)}}),
        line(FINISHED | {"properties": {"evidence": "javascript:alert(1)"}}),
        line(FINISHED | {"properties": {"evidence": "evidence/../../ledger.jsonl"}}),
        line(FINISHED | {"properties": {"evidence": 'evidence/x/a"onclick=1'}}),
        line({"event": "evidence", "nodeid": "a", "files": "/etc/passwd"}),
        line({"event": "collected", "count": 10**9, "nodeids": []}),
    ],
)
def test_a_line_about_tests_that_is_not_one_is_refused(broken: bytes) -> None:
    """With a reason that does not repeat what was written."""
    with pytest.raises(Refused, match="a line about tests is not one"):
        of_tests(broken)


def test_a_terminal_gets_no_command_from_a_test() -> None:
    """Nor is a line passed on that reads backwards."""
    record = FINISHED | {"detail": "\x1b]0;owned\x07 red\u202eder", "nodeid": "a\x1b[2J"}

    kept = json.loads(of_tests(line(record)))

    assert (
        kept["detail"]
        == "\N{REPLACEMENT CHARACTER}]0;owned\N{REPLACEMENT CHARACTER} red\N{REPLACEMENT CHARACTER}der"
    )
    assert kept["nodeid"] == "a\N{REPLACEMENT CHARACTER}[2J"


def test_what_a_history_has_is_kept_as_it_is() -> None:
    """Its kinds have fields of their own."""
    assert json.loads(of_history(line(HAPPENED))) == HAPPENED


@pytest.mark.parametrize(
    "change",
    [
        {"t_mono": "now"},
        {"t_mono": 1e300},
        {"wall": math.inf},
        {"fault": "all"},
        {"explained": {"a": "b"}},
        {"f": 1},
    ],
    ids=str,
)
def test_a_history_that_no_reader_could_read_is_refused(change: dict[str, object]) -> None:
    """The page of the report is made of it."""
    with pytest.raises(Refused, match="a line of a history is not one"):
        of_history(line(HAPPENED | change))


def test_measurements_are_read_whole_or_not_at_all() -> None:
    """One bad number refuses the file."""
    good = {"machine": {"cpus": "2"}, "measurements": [MEASURED]}
    bad = {"machine": {"cpus": "2"}, "measurements": [MEASURED, MEASURED | {"value": "fast"}]}

    assert of_measurements(line(good)) == [
        Measurement(name="a", metric="p50", value=1.5, unit="ms", samples=3)
    ]
    with pytest.raises(Refused, match=r"measurements\.1\.value"):
        of_measurements(line(bad))


def test_what_was_compared_is_what_its_name_says() -> None:
    """Neither another content, nor one that grows without end, nor something behind it."""
    packed, bomb = gzip.compress(b"{}"), gzip.compress(bytes(UNPACKED_BYTES + 1), compresslevel=1)
    name = f"{hashlib.sha256(b'{}').hexdigest()}.json.gz"

    assert of_comparison(name, packed) == packed
    for bad in (gzip.compress(b"[]"), packed + packed, packed[:-1], b"no", bomb):
        with pytest.raises(Refused):
            of_comparison(name, bad)


@pytest.mark.parametrize("check", [of_tests, of_history], ids=["tests", "history"])
def test_a_number_too_large_for_a_number_is_refused(check: Callable[[bytes], bytes]) -> None:
    """JSON knows no limit."""
    with pytest.raises(Refused):
        check(line(HAPPENED | FINISHED).replace(b"0.25", b"1" * 5000))


@pytest.mark.parametrize(
    "name", [".", "..", ".ssh", "a/b", "a\\b", "a\nb", "<a>", "a'b", "a&b", "", "a" * 201]
)
def test_names_that_are_not_harmless(name: str) -> None:
    """In a path, in a link or on a terminal."""
    assert not NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["gateway.log", "two-0", "qwen 0 (old)", "größe[1].json"])
def test_names_that_are_harmless(name: str) -> None:
    """Names of tests are in them."""
    assert NAME.fullmatch(name)


def test_a_ledger_tells_when_and_not_where() -> None:
    """Numbers of processes mean others outside."""
    entered = {"event": "intend", "id": "1", "wall": 2.5, "kind": "process", "name": "two/qwen-0"}

    assert json.loads(of_ledger(line(entered | {"run": "r", "facts": {"pid": 1}}))) == entered
    assert json.loads(of_ledger(line({"event": "released", "id": "1", "wall": 3.5}))) == {
        "event": "released",
        "id": "1",
        "wall": 3.5,
    }


@pytest.mark.parametrize(
    "broken", [b"[]\n", b"{}\n", line({"event": "ended", "id": "1", "wall": 1}), line({"event": "intend"})]
)
def test_what_is_no_line_of_a_ledger_is_refused(broken: bytes) -> None:
    """With what is wrong."""
    with pytest.raises(Refused, match="a line of a ledger is not one"):
        of_ledger(broken)
