"""Files that other projects' tools wrote, each with what it must give.

`KVSYNC_CI_INPUTS` names a folder with `junit/*.xml`.
"""

import os
from pathlib import Path

import pytest

from kvsync.ci.report.junit_reader import read_junit
from kvsync.testing.results.outcome import CheckKind, Outcome

VARIABLE = "KVSYNC_CI_INPUTS"


@pytest.fixture
def inputs() -> Path:
    """The folder of files, if there is one here."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} names no folder with files of other tools")
    return Path(folder) / "junit"


@pytest.mark.parametrize(
    ("files", "kinds", "outcome"),
    [
        (["01-playwright-browsers.xml"], ["failed", "passed"], Outcome.FAILED),
        (["02-codeception-class.xml"], ["failed", "passed"], Outcome.FAILED),
        (["03-fail-then-skipped.xml"], ["failed", "passed", "skipped"], Outcome.FAILED),
        (["05-surefire-rerun-header.xml"], ["flaky"], Outcome.PASSED),
        (["06-status-disabled.xml"], ["passed", "skipped"], Outcome.PASSED),
        (["07-blank-line-first.xml"], ["failed"], Outcome.FAILED),
        (["09-same-name-parametrized.xml"], ["failed", "passed", "passed"], Outcome.FAILED),
        (["11-suite-level-error.xml"], ["error", "passed"], Outcome.FAILED),
        (["15-catch2-header-counts-assertions.xml"], ["passed", "passed"], Outcome.PASSED),
        (["17-node-test-runner.xml"], ["failed", "passed"], Outcome.FAILED),
        (["per-os/linux.xml", "per-os/windows.xml"], ["failed", "passed"], Outcome.FAILED),
        (["per-os/windows.xml", "per-os/linux.xml"], ["failed", "passed"], Outcome.FAILED),
    ],
)
def test_each_file_gives_its_tests(
    inputs: Path, files: list[str], kinds: list[CheckKind], outcome: Outcome
) -> None:
    """As many tests as there were, no failure less, and nothing in doubt."""
    result = read_junit([inputs / file for file in files], name="theirs")

    assert sorted(check.kind for check in result.checks) == kinds
    assert (result.outcome, result.doubt) == (outcome, "")
    assert len({check.name for check in result.checks}) == len(result.checks)
