"""How often it is looked for what a run may have left."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from kvsync.ci.cleaning.residue import clear, find
from kvsync.ci.handover.settlement import remove_leftovers
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run_folder import RunFolder
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.results.outcome import Check, StageResult, merge
from tests.integration.ci.conftest import Programs

LISTS = ("ps*|'image ls'*) :",)

LOOK = 3
"""How often Docker is called to see what bears the label of a run, where nothing does."""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger of a run of which no other file cleans up."""
    return Ledger(tmp_path / "looking-7" / "ledger.jsonl")


def test_where_nothing_was_left_no_one_looks_twice(ledger: Ledger, programs: Programs) -> None:
    """Asking Docker takes longer than most of what else a small run does at its end."""
    programs("docker", *LISTS)

    assert clear(find(ledger.path, programs.tools), ledger, programs.tools) == {}
    assert len(programs.calls("docker")) == LOOK


@pytest.mark.parametrize(("is_told", "asked"), [(True, 0), (False, LOOK)], ids=["ended", "died"])
def test_a_run_that_swept_up_at_its_end_is_not_looked_for_in_docker(
    ledger: Ledger, programs: Programs, is_told: bool, asked: int
) -> None:
    """One that died after that is: what it did at last is not known."""
    folder = RunFolder(ledger.path.parent)
    folder.save(merge("residue", [Check(name="nothing", kind="passed")], started_at=datetime.now(UTC)))
    if is_told:
        folder.told.touch()
    programs("docker", *LISTS)

    parameters = Parameters(run=folder.path.name, report_dir=folder.path.parent)
    assert remove_leftovers(parameters, programs.tools) == []
    assert len(programs.calls("docker")) == asked


def test_a_run_that_left_something_is_looked_for_again(ledger: Ledger, programs: Programs) -> None:
    """What could not be removed at its end may be by now."""
    folder = RunFolder(ledger.path.parent)
    ledger.intend("cordon", "n2", kubeconfig="", context="dev", kind_cluster="")
    folder.save(StageResult.unknown("residue", "cordon n2 stays"))
    folder.told.touch()
    programs("docker", *LISTS)
    programs("kubectl", "*'uncordon n2') echo node/n2 uncordoned")

    parameters = Parameters(run=folder.path.name, report_dir=folder.path.parent)
    assert remove_leftovers(parameters, programs.tools) == []
    assert len(programs.calls("docker")) == 2 * LOOK
    assert leftovers([ledger.path]) == []
