"""Histories: append-only, readable after any death, merged by time."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kvsync.testing.results.history import History, parse_lines, read, read_lines


def test_a_record_says_what_when_and_who(tmp_path: Path) -> None:
    """Each record has its number, both times, the process, and its own fields."""
    times = iter([12.25, 12.5])
    history = History(
        tmp_path / "new" / "a.jsonl", proc="gateway", clock=lambda: next(times), wall=lambda: 1_700_000_000.5
    )

    history.append(f="request", type="ok", latency_s=0.5)
    history.append(f="note")

    assert list(read_lines(tmp_path / "new" / "a.jsonl")) == [
        {
            "i": 0,
            "t_mono": 12.25,
            "wall": 1_700_000_000.5,
            "proc": "gateway",
            "f": "request",
            "type": "ok",
            "latency_s": 0.5,
        },
        {"i": 1, "t_mono": 12.5, "wall": 1_700_000_000.5, "proc": "gateway", "f": "note", "type": "info"},
    ]


def test_bound_fields_are_in_each_record(tmp_path: Path) -> None:
    """A bound view shares file and numbers with its origin and adds its fields."""
    history = History(tmp_path / "a.jsonl", proc="p")

    history.bind(test="t1").append(f="a")
    history.bind(test="t2").bind(pod="x").append(f="b", test="own")
    history.append(f="c")

    records = list(read_lines(tmp_path / "a.jsonl"))
    assert [(r["i"], r["f"], r.get("test"), r.get("pod")) for r in records] == [
        (0, "a", "t1", None),
        (1, "b", "own", "x"),
        (2, "c", None, None),
    ]


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    """Records of many threads are complete and numbered without gaps, in the order of the file."""
    history = History(tmp_path / "a.jsonl", proc="p")

    with ThreadPoolExecutor(8) as pool:
        for n in range(200):
            pool.submit(history.append, f="x", payload="y" * 20_000, n=n)

    records = list(read_lines(tmp_path / "a.jsonl"))
    assert [record["i"] for record in records] == list(range(200))
    assert {record["n"] for record in records} == set(range(200))


def test_values_json_does_not_know(tmp_path: Path) -> None:
    """A value without a JSON form is written as its text rather than lost."""
    History(tmp_path / "a.jsonl", proc="p").append(f="x", path=Path("/a/b"))

    (record,) = read_lines(tmp_path / "a.jsonl")
    assert record["path"] == "/a/b"


def test_torn_and_foreign_lines_are_left_out() -> None:
    """Only whole JSON objects are records."""
    lines = ['{"f": "a"}', "", "[1]", '{"f": "b', "no json", '{"f": "c"}\n']

    assert list(parse_lines(lines)) == [{"f": "a"}, {"f": "c"}]


def test_histories_merge_by_time(tmp_path: Path) -> None:
    """Records of several processes come in the order in which they happened; a missing file is empty."""
    for name, times in (("a", [1.0, 4.0]), ("b", [0.5, 10.0, 2.0])):
        lines = [json.dumps({"f": name, "t_mono": time}) for time in times]
        (tmp_path / name).write_text("\n".join([*lines, '{"f": "no time"}', '{"f": "torn", "t_m']))

    found = read([tmp_path / "a", tmp_path / "b", tmp_path / "none"])

    assert [(record["f"], record["t_mono"]) for record in found] == [
        ("b", 0.5),
        ("a", 1.0),
        ("b", 2.0),
        ("a", 4.0),
        ("b", 10.0),
    ]


def test_only_some_kinds(tmp_path: Path) -> None:
    """Reading can be limited to some kinds of record."""
    history = History(tmp_path / "a.jsonl", proc="p")
    for kind in ("publish", "fault", "publish"):
        history.append(f=kind)

    assert [record["f"] for record in read([history.path], only={"fault"})] == ["fault"]
