"""`go test -json`: one check per test, never better than what Go said."""

import json
from collections.abc import Mapping

import pytest

from kvsync.ci.readers.bounds import Damaged
from kvsync.ci.readers.go_test import read_go_test
from kvsync.ci.readers.reading import ResultFile, result_of
from kvsync.testing.results.outcome import Check, CheckKind, Outcome, StageResult
from tests.unit.ci.readers.recordings import recorded

STOCK = "example.com/stock"


def result(text: str) -> StageResult:
    """Return what a stream amounts to."""
    return result_of("theirs", [("go.json", read_go_test(text))])


def kinds(reading: ResultFile) -> Mapping[str, CheckKind]:
    """Return how each check ended."""
    return {check.name.removeprefix(f"{STOCK}/"): check.kind for check in reading.checks}


def stream(*events: tuple[str, ...]) -> str:
    """Return events of action, package, test and output."""
    keys = ("Action", "Package", "Test", "Output")
    return "".join(json.dumps(dict(zip(keys, event, strict=False))) + "\n" for event in events)


def test_each_test_is_a_check() -> None:
    """Passes, failures, skips, subtests, a panic, a time limit, and a package that does not build."""
    assert kinds(read_go_test(recorded("go-test.json"))) == {
        "count::TestAdd": "failed",
        "count::TestAdd/small": "passed",
        "count::TestAdd/large_one": "failed",
        "count::TestAdd/a/b": "passed",
        "count::TestPlain": "passed",
        "count::TestSkipped": "skipped",
        "count::TestParallel": "passed",
        "count::TestParallel/one": "passed",
        "count::TestParallel/two": "passed",
        "broken": "error",
        "crash::TestBefore": "passed",
        "crash::TestPanics": "failed",
        "slow::TestQuick": "passed",
        "slow::TestHangs": "timeout",
    }


@pytest.mark.parametrize(
    ("name", "headline"),
    [
        ("count::TestAdd/large_one", "count_test.go:12: Add(101, 1) = 0, want 102"),
        ("count::TestAdd", f"subtests failed: {STOCK}/count::TestAdd/large_one"),
        ("count::TestSkipped", "count_test.go:20: needs a database"),
        ("broken", "broken/b_test.go:5:32: undefined: undefined"),
        ("crash::TestPanics", "panic: assignment to entry in nil map [recovered, repanicked]"),
        ("slow::TestHangs", "panic: test timed out after 2s"),
    ],
)
def test_the_headline_is_the_cause(name: str, headline: str) -> None:
    """What a reader sees first is why, not what Go prints around it."""
    checks = {check.name: check for check in read_go_test(recorded("go-test.json")).checks}

    assert checks[f"{STOCK}/{name}"].headline == headline


def test_a_repeat_that_failed_fails_the_test() -> None:
    """With `-count` Go fails the package, although the test passed at last; that it passed stays in sight."""
    flip, steady = read_go_test(recorded("go-test-count.json")).checks

    assert (flip.kind, [each.kind for each in flip.attempts]) == ("failed", ["passed", "passed"])
    assert (steady.kind, steady.attempts) == ("passed", ())


def test_a_package_that_ran_again_is_another_attempt() -> None:
    """As gotestsum's `--rerun-fails` does; the failure stays in sight."""
    first = [("run", "p", "TestA"), ("fail", "p", "TestA"), ("run", "p", "TestB"), ("pass", "p", "TestB")]
    again = [("start", "p"), ("run", "p", "TestA"), ("pass", "p", "TestA"), ("pass", "p")]
    text = stream(("start", "p"), *first, ("fail", "p"), *again)

    assert kinds(read_go_test(text)) == {"p::TestA": "flaky", "p::TestB": "passed"}
    assert result(text).outcome is Outcome.PASSED


def test_a_race_fails() -> None:
    """What the race detector found is evidence of the test."""
    (check,) = read_go_test(recorded("go-test-race.json")).checks

    assert check.kind == "failed"
    assert "race detected during execution of test" in check.headline
    assert "DATA RACE" in check.detail


def test_benchmarks_are_measured() -> None:
    """A benchmark has no end in the stream; its result is its evidence, and one without is no check."""
    reading = read_go_test(recorded("go-test-bench.json"))

    assert kinds(reading) == {"count::BenchmarkAdd": "passed", "count::BenchmarkGrow/n=8": "passed"}
    assert {(each.metric, each.unit) for each in reading.measurements} >= {
        ("time", "ns/op"),
        ("throughput", "MB/s"),
    }


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(
            [("run", "p", "T"), ("pass", "p", "T")], "package p never ended", id="no end of the package"
        ),
        pytest.param([("run", "p", "T")], "1 of 1 undecided", id="no end of the test"),
        pytest.param([("run", "p", "T"), ("pass", "p")], "1 of 1 undecided", id="an end of the package only"),
        pytest.param([("start", "p"), ("pass", "p")], "no test ran", id="no test"),
        pytest.param([("start", "p"), ("skip", "p")], "no test ran", id="no test file"),
    ],
)
def test_what_has_no_end_is_unknown(events: list[tuple[str, ...]], expected: str) -> None:
    """A stream that was cut off, wherever, or that holds no test, is never green."""
    found = result(stream(*events))

    assert found.outcome is Outcome.UNKNOWN
    assert expected in found.reason


def test_every_cut_of_a_green_stream_is_unknown() -> None:
    """Wherever a stream of passes is cut, the rest is missed."""
    text = stream(
        ("start", "p"), ("run", "p", "T"), ("output", "p", "T", "ok\n"), ("pass", "p", "T"), ("pass", "p")
    )

    assert result(text).outcome is Outcome.PASSED
    for end in range(1, len(text) - 1):
        try:
            assert result(text[:end]).outcome is Outcome.UNKNOWN, text[:end]
        except Damaged:
            continue


def test_a_package_that_fails_by_itself_is_an_error() -> None:
    """Such as after a panic outside of tests: its passes do not hide it."""
    text = stream(
        ("run", "p", "T"), ("pass", "p", "T"), ("output", "p", "", "panic: in main\n"), ("fail", "p")
    )

    assert [(check.name, check.kind, check.headline) for check in read_go_test(text).checks] == [
        ("p::T", "passed", ""),
        ("p", "error", "panic: in main"),
    ]


def test_other_lines_are_remarks_and_torn_events_doubts() -> None:
    """Go prints downloads between the events; half an event may have been a failure."""
    good = stream(("run", "p", "T"), ("pass", "p", "T"), ("pass", "p"))
    noisy = result(f"go: downloading example.com/x v1\n{good}")
    torn = result(f'{{"Action":"fa\n{good}')

    assert (noisy.outcome, noisy.remarks) == (
        Outcome.PASSED,
        ("go.json: 1 lines are no events: go: downloading example.com/x v1",),
    )
    assert (torn.outcome, torn.reason) == (Outcome.UNKNOWN, "go.json: line 1 is no whole event")


def test_a_failure_is_kept_beside_a_doubt() -> None:
    """What is known to have failed stays failed in a stream that was cut."""
    assert result(stream(("run", "p", "T"), ("fail", "p", "T"))).outcome is Outcome.FAILED


@pytest.mark.parametrize("text", ["", "[]", "hello\n", '{"Action": 3}\n', "[" * 100_000, '{"a":' * 100_000])
def test_what_is_no_stream_is_damaged(text: str) -> None:
    """Another text, and nests that break parsers."""
    with pytest.raises(Damaged, match="no event"):
        read_go_test(text)


def test_names_and_texts_are_bounded() -> None:
    """A test cannot fill the report with its name, nor a terminal with its output."""
    text = stream(
        ("run", "p", f"T\x1b[2J{'x' * 5000}"),
        ("output", "p", f"T\x1b[2J{'x' * 5000}", "\x1b[31mred\x1b[0m\x07" * 50_000),
        ("fail", "p", f"T\x1b[2J{'x' * 5000}"),
        ("fail", "p"),
    )
    check: Check = result(text).checks[0]

    assert len(check.name) == 1000
    assert "\x1b" not in check.name + check.detail
    assert len(check.detail) < 140_000
