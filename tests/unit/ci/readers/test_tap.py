"""TAP 12 to 14, and what `node --test` makes of it: never better than what it says."""

import pytest

from kvsync.ci.readers.bounds import Damaged
from kvsync.ci.readers.reading import result_of
from kvsync.ci.readers.tap import read_tap
from kvsync.testing.results.outcome import CheckKind, Outcome, StageResult
from tests.unit.ci.readers.recordings import recorded

NESTED = """TAP version 14
# Subtest: outer
    # Subtest: inner
        ok 1 - deepest
        1..1
    ok 1 - inner
    not ok 2 - second
    1..2
not ok 1 - outer
ok 2 - after
1..2
"""


def result(text: str) -> StageResult:
    """Return what a stream amounts to."""
    return result_of("theirs", [("t.tap", read_tap(text))])


def test_node_is_read() -> None:
    """Suites, subtests, an escaped number sign, skip and todo, and the cause of a failure first."""
    found = result(recorded("node.tap"))

    assert {check.name: check.kind for check in found.checks} == {
        "other file": "passed",
        "sum > adds small numbers": "passed",
        "sum > adds large numbers": "failed",
        "outer > inner # one": "passed",
        "outer > deeper > deepest": "passed",
        "skipped": "skipped",
        "todo": "xfailed",
    }
    assert found.reason == ("1 of 7 failed: sum > adds large numbers: Expected values to be strictly equal:")
    assert found.checks[2].detail.splitlines()[2] == "0 !== 102"
    assert found.checks[2].duration_s == pytest.approx(0.000853, rel=0.01)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("1..2\nok 1 - a\nok 2\n", {"a": "passed", "(test 2)": "passed"}, id="12"),
        pytest.param("ok - a\nok b\n1..2\n", {"a": "passed", "b": "passed"}, id="plan last, no numbers"),
        pytest.param("1..1\nok 1 - a # skip no disk\n", {"a": "skipped"}, id="skip"),
        pytest.param("1..1\nnot ok 1 - a # SKIP no disk\n", {"a": "skipped"}, id="skip of a failure"),
        pytest.param("1..2\nnot ok 1 - a # TODO later\nok 2 b\n", {"a": "xfailed", "b": "passed"}, id="todo"),
        pytest.param("1..1\nok 1 - a # TODO later\n", {"a": "passed"}, id="todo that passes"),
        pytest.param("1..1\nok 1 - a \\# TODO\n", {"a # TODO": "passed"}, id="escaped"),
        pytest.param("1..1\nnot ok 1 - a\\\\\n", {"a\\": "failed"}, id="escaped backslash"),
        pytest.param("1..2\nok 1 - a\nok 2 - a\n", {"a": "passed", "a #2": "passed"}, id="one name twice"),
        pytest.param("1..1\nok 1 - a # time=25ms\n", {"a": "passed"}, id="time"),
    ],
)
def test_each_line_is_a_check(text: str, expected: dict[str, CheckKind]) -> None:
    """Numbers and dashes are optional, directives count, escapes do not."""
    found = result(text)

    assert {check.name: check.kind for check in found.checks} == expected
    assert not found.doubt


def test_a_subtest_names_its_tests() -> None:
    """The line that sums up a subtest adds nothing, unless it failed by itself."""
    assert {check.name: check.kind for check in result(NESTED).checks} == {
        "outer > inner > deepest": "passed",
        "outer > second": "failed",
        "after": "passed",
    }
    alone = result(NESTED.replace("not ok 2 - second", "ok 2 - second"))
    assert {check.name: check.kind for check in alone.checks}["outer"] == "failed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("ok 1\nok 2\n", "no plan", id="no plan"),
        pytest.param("1..3\nok 1\nok 2\n", "3 tests are planned, 2 are there", id="too few"),
        pytest.param("1..1\nok 1\nok 2\n", "1 tests are planned, 2 are there", id="too many"),
        pytest.param("1..2\nok 1\nok 1\n", "not numbered as planned", id="one number twice"),
        pytest.param("1..2\nok 1\nok 7\n", "not numbered as planned", id="a number beyond the plan"),
        pytest.param("1..1\nok 1\n1..1\n", "two plans", id="two plans"),
        pytest.param("1..0 # SKIP no database\n", "all 1 skipped: no database", id="all skipped"),
        pytest.param("1..0\n", "all 1 skipped", id="nothing planned"),
        pytest.param("1..1\n    ok 1 - in\n    1..2\nok 1 - out\n", "2 tests are planned", id="in a subtest"),
        pytest.param(
            "1..1\n# Subtest: a\n    ok 1 - in\n", "the subtest a has no end", id="cut in a subtest"
        ),
    ],
)
def test_tests_that_may_be_missing_make_it_unknown(text: str, expected: str) -> None:
    """A plan that is missing or not met, or in which nothing ran, is never green."""
    found = result(text)

    assert found.outcome is Outcome.UNKNOWN
    assert expected in found.reason


def test_every_cut_of_a_green_stream_is_unknown() -> None:
    """Wherever a stream whose plan comes first is cut, tests are missing."""
    text = "TAP version 13\n1..2\nok 1 - a\n  ---\n  duration_ms: 1\n  ...\nok 2 - b"

    assert result(text).outcome is Outcome.PASSED
    for end in range(1, text.index("ok 2") + 2):
        try:
            assert result(text[:end]).outcome is Outcome.UNKNOWN, text[:end]
        except Damaged:
            continue


def test_bail_out_is_an_error() -> None:
    """The program itself says that it gave up; the tests that are missing are not said again."""
    found = result("1..9\nok 1 - a\nBail out! no database\n")

    assert (found.outcome, found.reason) == (Outcome.FAILED, "1 of 2 failed: Bail out!: no database")


def test_diagnostics_are_text() -> None:
    """Comments and YAML belong to the test before them; aliases of YAML are not followed, and a block that is
    not closed swallows no test."""
    found = result("1..2\nnot ok 1 - a\n#   got: 1\n  ---\n  a: &a [1]\n  message: 'too few'\nnot ok 2 - b\n")

    assert found.checks[0].headline == "too few"
    assert "a: &a [1]" in found.checks[0].detail
    assert "#   got: 1" in found.checks[0].detail
    assert found.checks[1].kind == "failed"


def test_two_streams_in_one_file_are_two_plans() -> None:
    """Several programs may write into one file, each with its version."""
    assert (
        result("TAP version 13\n1..1\nok 1 - a\nTAP version 13\n1..1\nok 1 - b\n").outcome is Outcome.PASSED
    )


@pytest.mark.parametrize("text", ["", "hello\nokay then\n", "# ok\n", "TAP version 14\n"])
def test_what_holds_no_test_is_damaged(text: str) -> None:
    """Words that begin alike are no tests."""
    with pytest.raises(Damaged, match="no test and no plan"):
        read_tap(text)


def test_deep_nests_end() -> None:
    """Subtests without end cost neither the stack nor an age."""
    text = "\n".join(f"{'    ' * depth}ok 1 - a" for depth in range(300))

    assert result(text).outcome is Outcome.UNKNOWN
