"""Results as JUnit XML: what other tools read is never better than the result."""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kvsync.ci.report.junit_writer import write_junit, write_prow
from kvsync.testing.results.outcome import Attempt, Check, CheckKind, merge


def written(tmp_path: Path, checks: Sequence[Check]) -> ElementTree.Element:
    """Write a stage with these checks and return its suite as XML parsers see it."""
    path = tmp_path / "junit" / "e2e.xml"
    started_at = datetime(2026, 11, 20, tzinfo=UTC)
    write_junit(merge("e2e", checks, started_at=started_at), path, {"seed": "7"})
    suite = ElementTree.fromstring(path.read_text(encoding="utf-8")).find("testsuite")  # noqa: S314 - our own file
    assert suite is not None
    return suite


@pytest.mark.parametrize(
    ("kind", "elements"),
    [
        ("passed", []),
        ("flaky", []),
        ("skipped", ["skipped"]),
        ("xfailed", ["skipped"]),
        ("quarantined", ["skipped"]),
        ("failed", ["failure"]),
        ("error", ["error"]),
        ("timeout", ["error"]),
        ("void", ["error"]),
        ("inconclusive", ["error"]),
        ("infra-error", ["error"]),
        ("not-run", ["error"]),
    ],
)
def test_kinds(tmp_path: Path, kind: CheckKind, elements: list[str]) -> None:
    """What is not decided is an error, since JUnit has no word for it that is not harmless."""
    suite = written(tmp_path, [Check(name="tests/e2e/test_a.py::test_x", kind=kind, detail="E   why\nmore")])

    (case,) = suite.iter("testcase")
    assert [element.tag for element in case] == elements
    if elements:
        assert (case[0].get("message"), case[0].get("type"), case[0].text) == ("why", kind, "E   why\nmore")


def test_counts_and_names(tmp_path: Path) -> None:
    """The suite counts its cases, each of which has the dotted name of its file, and its time."""
    suite = written(
        tmp_path,
        [
            Check(name="tests/e2e/test_a.py::TestB::test_x[a::b]", kind="failed", duration_s=1.5),
            Check(name="nothing is left behind", kind="void"),
            Check(name="c", kind="passed", log_tail="printed", properties={"pods": "3"}),
        ],
    )

    assert [suite.get(name) for name in ("name", "tests", "failures", "errors", "skipped")] == [
        "e2e",
        "3",
        "1",
        "1",
        "0",
    ]
    assert [
        (case.get("classname"), case.get("name"), case.get("time")) for case in suite.iter("testcase")
    ] == [
        ("tests.e2e.test_a", "TestB::test_x[a::b]", "1.5"),
        ("e2e", "nothing is left behind", "0.0"),
        ("e2e", "c", "0.0"),
    ]
    assert [each.get("name") for each in suite.iter("property")] == ["seed", "pods"]
    assert [each.text for each in suite.iter("system-out")] == ["printed"]


@pytest.mark.parametrize(("kind", "tag"), [("flaky", "flakyFailure"), ("failed", "rerunFailure")])
def test_attempts(tmp_path: Path, kind: CheckKind, tag: str) -> None:
    """Earlier attempts are kept, in the words of Surefire."""
    attempt = Attempt(kind="failed", detail="first")

    suite = written(tmp_path, [Check(name="a", kind=kind, attempts=(attempt,))])

    assert [each.text for each in suite.iter(tag)] == ["first"]


def test_any_text_is_legal(tmp_path: Path) -> None:
    """Control characters and lone surrogates, which XML cannot hold, are replaced."""
    check = Check(name="a\x00", kind="failed", detail="E   \x1b[31m<red> & \ud800", log_tail="]]>\x08")

    suite = written(tmp_path, [check])

    (case,) = suite.iter("testcase")
    assert case.get("name") == "a\ufffd"
    assert case[0].get("message") == "\ufffd[31m<red> & \ufffd"
    assert case.findtext("system-out") == "]]>\ufffd"


def test_a_doubtful_stage_is_not_green(tmp_path: Path) -> None:
    """What makes a stage doubtful although every test passed is an error in the file."""
    passed = merge("e2e", [Check(name="a", kind="passed")], started_at=datetime(2026, 11, 20, tzinfo=UTC))
    path = tmp_path / "e2e.xml"

    write_junit(passed.doubted("it hung at its end"), path, {})

    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 - our own file
    assert [(each.get("type"), each.text) for each in root.iter("error")] == [
        ("inconclusive", "it hung at its end")
    ]


def test_prow_attempts(tmp_path: Path) -> None:
    """In the form of Prow each attempt is a test case of the same name, with its time."""
    attempt = Attempt(kind="failed", detail="first", duration_s=3.0)
    check = Check(name="a", kind="flaky", duration_s=2.0, log_tail="printed", attempts=(attempt,))
    path = tmp_path / "e2e.xml"

    write_prow(merge("e2e", [check], started_at=datetime(2026, 11, 20, tzinfo=UTC)), path, {})

    cases = ElementTree.fromstring(path.read_text(encoding="utf-8")).iter("testcase")  # noqa: S314 - our own
    assert [(case.get("name"), case.get("time"), case.findtext("failure")) for case in cases] == [
        ("a", "3.0", "first"),
        ("a", "2.0", None),
    ]


@pytest.mark.parametrize("write", [write_junit, write_prow])
def test_ten_times_the_tests_are_ten_times_the_work(tmp_path: Path, write: Callable[..., None]) -> None:
    """What a file costs to write grows with its tests, not with their square."""

    def calls(tests: int) -> int:
        checks = [Check(name=f"tests/e2e/test_a.py::test_{each}", kind="passed") for each in range(tests)]
        result, made = merge("e2e", checks, started_at=datetime(2026, 11, 20, tzinfo=UTC)), 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal made
            made += event == "call"

        sys.setprofile(count)
        try:
            write(result, tmp_path / "e2e.xml", {})
        finally:
            sys.setprofile(None)
        return made

    assert calls(500) < 12 * calls(50)
