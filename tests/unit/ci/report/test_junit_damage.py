"""Reading JUnit files that are damaged, written in any encoding, or very large."""

import sys
from pathlib import Path

import pytest

from kvsync.testing.results.outcome import Outcome
from tests.unit.ci.report.test_junit_reader import PROW, SUREFIRE, read


@pytest.mark.parametrize(
    ("text", "kinds", "reason"),
    [
        pytest.param(
            PROW[: PROW.index('<testcase name="drains">') + 40],
            ["flaky", "inconclusive"],
            "0.xml: unclosed token: line 4, column 26; 4 tests are declared, 2 are there",
            id="within a case",
        ),
        pytest.param(
            SUREFIRE[:30], [], "no test ran; 0.xml: unclosed token: line 1, column 0", id="at the top"
        ),
        pytest.param("", [], "no test ran; 0.xml: no element found: line 1, column 0", id="empty"),
        pytest.param(
            '<testsuite tests="9"><testcase name="a"/></testsuite>',
            ["passed"],
            "0.xml: 9 tests are declared, 1 are there",
            id="fewer than declared",
        ),
        pytest.param(
            '<testsuite tests="1" failures="1"><testcase name="a"/></testsuite>',
            ["passed"],
            "0.xml: 1 failures and errors are declared, 0 are there",
            id="a failure without a case",
        ),
        pytest.param(
            "<html><body/></html>", [], "no test ran; 0.xml: not a JUnit file: it begins with html", id="html"
        ),
        pytest.param(
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><testsuite name="&x;"/>',
            [],
            "no test ran; 0.xml: a document type is refused",
            id="external entity",
        ),
        pytest.param(
            "<!DOCTYPE a [<!ENTITY b 'bbbbbbbb'>"
            + "".join(f"<!ENTITY b{n} '{f'&b{n - 1 or str()};' * 10}'>" for n in range(1, 9))
            + "]><testsuite><testcase name='&b8;'/></testsuite>",
            [],
            "no test ran; 0.xml: a document type is refused",
            id="billion laughs",
        ),
    ],
)
def test_damage(tmp_path: Path, text: str, kinds: list[str], reason: str) -> None:
    """What was complete is kept, what was cut is undecided, and the stage says what is wrong."""
    result = read(tmp_path, text)

    assert [check.kind for check in result.checks] == kinds
    assert result.outcome is Outcome.UNKNOWN
    assert result.reason.endswith(reason)


def test_illegal_characters(tmp_path: Path) -> None:
    """What XML cannot hold is left out, raw or as a number; what it can hold stays."""
    (check,) = read(
        tmp_path,
        '<testsuite><testcase name="a\x00b"><failure message="&#27;[31m&#xFFFE;r&#233;d&#x0;">'
        "\x1b[0m&#10;</failure></testcase></testsuite>",
    ).checks

    assert (check.name, check.headline) == ("ab", "[31mréd")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'<?xml version="1.0" encoding="ISO-8859-1"?>{}', id="declared"),
        pytest.param(b'<?xml version="1.0" encoding="x-no-such"?>{}', id="unknown"),
        pytest.param("\ufeff{}".encode("utf-16-le"), id="utf-16"),
        pytest.param(b"\xef\xbb\xbf{}", id="utf-8 with a mark"),
    ],
)
def test_encodings(tmp_path: Path, content: bytes) -> None:
    """Files are read in the encoding that they declare, and somehow when they declare none there is."""
    wide = content.startswith(b"\xff\xfe")
    suite = '<testsuite tests="1"><testcase name="a"/></testsuite>'.encode("utf-16-le" if wide else "ascii")
    result = read(tmp_path, content.replace("{}".encode("utf-16-le" if wide else "ascii"), suite))

    assert (result.outcome, [check.name for check in result.checks]) == (Outcome.PASSED, ["a"])


@pytest.mark.timeout(10)
def test_suites_within_suites_cost_no_more_than_others(tmp_path: Path) -> None:
    """However deep they lie, each case is counted once for each suite that ends around it."""
    text = '<testsuite tests="10000">' * 10_000 + '<testcase name="a"/>' * 10_000 + "</testsuite>" * 10_000
    result = read(tmp_path, text)

    assert (result.doubt, result.checks[0].name) == ("", "a")


@pytest.mark.timeout(10)
@pytest.mark.parametrize("encoding", ["idna", "undefined", "Punycode-", "hex", "unicode_escape", "nothing"])
def test_an_encoding_that_is_none_raises_nothing(tmp_path: Path, encoding: str) -> None:
    """Nor takes long, though Python knows encodings of host names, and some that decode nothing."""
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    cases = "".join(f'<testcase name="{each}"/>' for each in range(10_000)) + "<!-- " + "a" * 200_000 + " -->"
    result = read(tmp_path, f'{head}<testsuite tests="10000">{cases}</testsuite>')

    assert (result.outcome, len(result.checks)) == (Outcome.PASSED, 10_000)


def test_ten_times_the_tests_are_ten_times_the_reading(tmp_path: Path) -> None:
    """What a file costs to read grows with its tests, also where all have one name or a suite each."""

    def calls(tests: int) -> int:
        same, made = '<testcase name="a"/>' * tests, 0
        alone = '<testsuite name="s" hostname="h"><testcase name="b"/></testsuite>' * tests

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal made
            made += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            read(tmp_path, f'<testsuites><testsuite name="s">{same}</testsuite>{alone}</testsuites>')
        finally:
            sys.setprofile(None)
        return made

    assert calls(2000) < 12 * calls(200)
