"""docs/reference.md is what the models say today."""

from docs.scripts.reference import PAGE, reference
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.quarantine import QuarantineEntry
from kvsync.ci.settings import VARIABLES


def test_the_reference_is_up_to_date() -> None:
    """`python docs/scripts/reference.py --write` brings it there."""
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_nothing_is_left_out() -> None:
    """Every variable, every parameter of a run and every field of a quarantine has its line."""
    page = PAGE.read_text(encoding="utf-8")
    cells = {
        cell.strip("` ") for line in page.splitlines() if line[:1] == "|" for cell in line.split("|")[1:3]
    }

    assert {*VARIABLES, *Parameters.model_fields, *QuarantineEntry.model_fields} - cells == set()
