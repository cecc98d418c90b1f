"""Where time and memory go in what is measured, as pages among the evidence of the run."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from kvsync.ci.stages.profile_runner import PROFILERS
from kvsync.ci.stages.profiles import PROFILER
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.runner import run
from kvsync.testing.pytest_plugin import link_evidence
from kvsync.testing.results.verdicts import NotRun

MEASURED = {
    "time": ["kvsync.testing.benchmarks.costs"],
    "memory": ["kvsync.testing.benchmarks.footprint", "1", "10000", "50", "149"],
}
"""What is profiled, by the kind of profile: the module and its arguments."""


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", MEASURED)
def test_profile(
    kind: str, run_dir: Path, tmp_path: Path, ledger: Ledger, request: pytest.FixtureRequest
) -> None:
    """A page is written, and named with this test in the report."""
    if find_spec(PROFILERS[kind]) is None:
        raise NotRun(f"there is no {PROFILERS[kind]}; install it beside kvsync with pip")
    folder = run_dir / "evidence" / f"profile-{kind}"
    words = [str(PROFILER), kind, str(folder / f"{kind}.html"), "-m", *MEASURED[kind]]

    result = run(
        [sys.executable, *words],
        log=tmp_path / "profile.log",
        timeout_s=240,
        ledger=ledger,
    )

    assert result.exit_code == 0, result.tail
    assert [each.name for each in folder.iterdir()] == [f"{kind}.html"]
    link_evidence(request.node, folder)
