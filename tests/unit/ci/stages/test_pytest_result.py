"""How the lines of the pytest plugin and the end of pytest become a verdict."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from kvsync.ci.stages.pytest_stage import cut_short, result_from
from kvsync.testing.processes.runner import CommandResult
from kvsync.testing.results.history import Record
from kvsync.testing.results.outcome import Outcome, StageResult

COLLECTED: Record = {"event": "collected", "count": 2, "nodeids": ["t.py::a", "t.py::b"]}


def finished(name: str, kind: str = "passed", detail: str = "") -> list[Record]:
    """Return the lines of a test that ran to its end."""
    ending: Record = {"kind": kind, "outcome": "-", "duration_s": 0.5, "detail": detail, "log_tail": ""}
    nodeid = f"t.py::{name}"
    return [
        {"event": "started", "nodeid": nodeid},
        {"event": "finished", "nodeid": nodeid, **ending, "properties": {}},
    ]


def started(name: str) -> list[Record]:
    """Return the line of a test that never finished."""
    return [{"event": "started", "nodeid": f"t.py::{name}"}]


def verdict(
    records: Sequence[Record], exit_code: int, *, timed_out: bool = False, stopped: bool = False
) -> StageResult:
    """Return the verdict on a run that took a minute."""
    command = CommandResult(
        exit_code=exit_code, duration_s=60.0, tail="last words\n\n", timed_out=timed_out, stopped=stopped
    )
    return result_from(records, command, name="some", started_at=datetime(2026, 11, 20, tzinfo=UTC))


def test_all_passed() -> None:
    """Tests that all ran and passed, and an exit code that says so, are a pass."""
    result = verdict([COLLECTED, *finished("a"), *finished("b")], 0)

    assert (result.outcome, result.reason) == (Outcome.PASSED, "")
    assert result.summary() == "PASSED: some: 2 passed"


def test_time_limit() -> None:
    """At the limit of a stage the running test timed out, and what it did not reach was not run."""
    collected: Record = {**COLLECTED, "nodeids": ["t.py::a", "t.py::b", "t.py::c"]}

    result = verdict([collected, *finished("a"), *started("b")], -2, timed_out=True)

    assert [check.kind for check in result.checks] == ["passed", "timeout", "not-run"]
    assert result.outcome is Outcome.FAILED
    assert result.checks[1].log_tail == "last words\n\n"
    assert result.checks[2].detail == "not run: the stage reached its time limit after 60 s"


def test_time_limit_of_several_processes() -> None:
    """Each test that was running then timed out."""
    collected: Record = {**COLLECTED, "nodeids": ["t.py::a", "t.py::b", "t.py::c"]}

    result = verdict([collected, *started("a"), *started("c"), *finished("b")], 2, timed_out=True)

    assert [check.kind for check in result.checks] == ["timeout", "passed", "timeout"]
    assert result.outcome is Outcome.FAILED


def test_time_limit_after_the_last_test() -> None:
    """Pytest that hangs after its last test is not a pass."""
    result = verdict([COLLECTED, *finished("a"), *finished("b")], -9, timed_out=True)

    assert (result.outcome, result.reason) == (
        Outcome.UNKNOWN,
        "the stage reached its time limit after 60 s",
    )


@pytest.mark.parametrize(
    ("exit_code", "kind"), [(-9, "inconclusive"), (2, "inconclusive"), (-11, "error"), (1, "error")]
)
def test_end_of_pytest_during_a_test(exit_code: int, kind: str) -> None:
    """A crash is the running test's error; a kill from outside decides nothing about it."""
    result = verdict([COLLECTED, *finished("a"), *started("b")], exit_code)

    assert [check.kind for check in result.checks] == ["passed", kind]


@pytest.mark.parametrize(
    ("exit_code", "said"),
    [*((code, f"exit status {code}") for code in (1, 2, 3, 4)), (-9, "SIGKILL (exit status -9)")],
)
def test_exit_code_that_no_test_explains(exit_code: int, said: str) -> None:
    """When pytest says that it failed and no test did, the verdict is unknown."""
    result = verdict([COLLECTED, *finished("a"), *finished("b")], exit_code)

    assert result.outcome is Outcome.UNKNOWN
    assert result.reason == f"2 recorded tests do not explain pytest's {said}: last words"


def test_what_pytest_complains_of() -> None:
    """Of an option that it does not know pytest says more after its complaint, such as its root folder."""
    said = [
        "ERROR: usage: __main__.py [options] [file_or_dir] [file_or_dir] [...]",
        "__main__.py: error: unrecognized arguments: --cov",
        "  inifile: /somewhere/pyproject.toml",
        "  rootdir: /somewhere",
    ]
    command = CommandResult(exit_code=4, duration_s=1.0, tail="\n".join(said))
    result = result_from([], command, name="unit", started_at=datetime.now(UTC))

    assert result.reason == "no test ran; __main__.py: error: unrecognized arguments: --cov"


def test_failed_tests_stay_failed() -> None:
    """An exit code of 0 does not make a failed test undone."""
    result = verdict([COLLECTED, *finished("a", "failed", "E  no"), *finished("b")], 0)

    assert result.outcome is Outcome.FAILED
    assert result.reason.startswith("1 of 2 failed: a: no; 2 recorded tests do not explain")


def test_no_lines_at_all() -> None:
    """Without any test there is no evidence."""
    assert verdict([], 0).outcome is Outcome.UNKNOWN
    assert verdict([], 5).reason == "no test ran"


@pytest.mark.parametrize(
    ("first", "last", "kind"),
    [("failed", "passed", "flaky"), ("failed", "failed", "failed"), ("void", "passed", "passed")],
)
def test_attempts(first: str, last: str, kind: str) -> None:
    """The last attempt decides, a pass after a failure is flaky, and the earlier attempt is kept."""
    collected: Record = {**COLLECTED, "nodeids": ["t.py::a"]}
    lines = [collected, *finished("a", first, "why"), collected, *finished("a", last)]

    (check,) = verdict(lines, 1 if kind == "failed" else 0).checks

    assert check.kind == kind
    assert [(attempt.kind, attempt.detail) for attempt in check.attempts] == [(first, "why")]


def test_a_second_attempt_that_never_ended() -> None:
    """A test that was running when the second attempt ended has not passed."""
    lines = [COLLECTED, *finished("a"), *finished("b"), COLLECTED, *finished("a"), *started("b")]

    result = verdict(lines, -2, stopped=True)

    assert [check.kind for check in result.checks] == ["passed", "not-run"]


@pytest.mark.parametrize(
    ("records", "kinds", "reason"),
    [
        pytest.param(
            [COLLECTED, *finished("a"), *started("b")],
            ["passed", "inconclusive"],
            "1 of 2 undecided: b: it died while this test ran; it died",
            id="one was running",
        ),
        pytest.param(
            [COLLECTED, *finished("a"), *finished("b")],
            ["passed", "passed"],
            "it died",
            id="before the verdict",
        ),
        pytest.param([], ["not-run"], "not run: it died", id="before the first"),
    ],
)
def test_a_stage_cut_short_keeps_what_it_finished(
    records: Sequence[Record], kinds: list[str], reason: str
) -> None:
    """Tests that finished count; the stage is never PASSED without the end of pytest."""
    result = cut_short(records, name="some", why="it died")

    assert [check.kind for check in result.checks] == kinds
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, reason)
