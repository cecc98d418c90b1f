"""What `kvsync-ci show` says of checks that did not pass for what looks like one cause."""

import pytest

from deployments.commands.show import _print_problem
from kvsync.ci.report.problems import Problem
from kvsync.testing.results.outcome import Check


def test_checks_of_one_cause_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """By their stages, and by what was measured where that differs."""
    first = Check(name="errors < 5 %", kind="failed", detail="errors were 90 %")
    other = Check(name="errors < 5 %", kind="failed", detail="errors were 50 %")

    _print_problem(Problem("failed", first.headline, [("load", first), ("half", other)]))

    assert capsys.readouterr().out.splitlines() == [
        "",
        "failed errors were 90 %",
        "  load: errors < 5 %",
        "  half: errors < 5 %: errors were 50 %",
    ]
