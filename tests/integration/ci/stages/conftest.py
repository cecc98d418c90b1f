"""A small project with a folder of tests, and a run beside it."""

import threading
from pathlib import Path

import pytest

from kvsync.ci.stages.stage import StageContext
from kvsync.testing.processes.ledger import Ledger
from tests.projects import make_project


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    """A repository with an empty folder tests/some, and a run beside it."""
    repository = make_project(tmp_path / "repository")
    (repository / "tests" / "some").mkdir(parents=True)
    return StageContext(
        run_dir=tmp_path / "run-1",
        repository=repository,
        ledger=Ledger(tmp_path / "run-1" / "ledger.jsonl"),
        seed=7,
        stop=threading.Event(),
    )
