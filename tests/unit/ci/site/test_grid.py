"""The grid of tests by runs."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from kvsync.ci.archive.records import PastRun
from kvsync.ci.site.grid import LETTERS, Grid, cut
from kvsync.testing.results.outcome import OUTCOMES, CheckKind
from tests.unit.ci.past_runs import RUN


def run(number: int, repository: str = "me/gw") -> PastRun:
    """Return the run of an hour."""
    return replace(
        RUN,
        run=f"run-{number}",
        started_at=RUN.started_at + timedelta(hours=number),
        scope=replace(RUN.scope, repository=repository),
    )


def rows(*checked: tuple[PastRun, Sequence[tuple[str, str, CheckKind]]]) -> list[tuple[str, str]]:
    """Return the names and the cells of a grid."""
    return [(row.name, row.cells) for row in Grid.of(checked).rows]


def test_a_cell_for_each_run() -> None:
    """The newest run is on the left; where a test did not run its cell is blank."""
    found = rows(
        (run(3), [("unit", "a", "passed"), ("unit", "b", "timeout")]),
        (run(2), []),
        (run(1), [("unit", "a", "flaky"), ("unit", "c", "skipped")]),
    )

    assert found == [("b", "T  "), ("a", "P ~"), ("c", "  S")]


def test_what_failed_last_comes_first() -> None:
    """Those that never failed follow by name; a quarantined failure is not one to wait for."""
    found = rows(
        (run(2), [("unit", "a", "quarantined"), ("unit", "b", "passed"), ("unit", "c", "failed")]),
        (run(1), [("unit", "a", "passed"), ("unit", "b", "error"), ("unit", "c", "passed")]),
    )

    assert [name for name, _ in found] == ["c", "b", "a"]


@pytest.mark.parametrize("kinds", [("failed", "passed"), ("passed", "failed")])
def test_the_worst_of_one_name(kinds: Sequence[CheckKind]) -> None:
    """Of several checks of one name, none hides a failure, in whichever order they come."""
    assert rows((run(1), [("unit", "a", kind) for kind in kinds])) == [("a", "F")]


def test_repositories_are_kept_apart() -> None:
    """The same name in two repositories, or in two stages, is two tests."""
    found = rows(
        (run(2), [("unit", "a", "passed"), ("e2e", "a", "flaky")]),
        (run(1, "me/other"), [("unit", "a", "failed")]),
    )

    assert found == [("a", " F"), ("a", "~ "), ("a", "P ")]


def test_a_grid_has_an_end() -> None:
    """Rows above the limit are counted, and what failed is not among them."""
    grid = Grid.of([(run(1), [("unit", "a", "passed"), ("unit", "b", "failed")])], most=1)

    assert [row.name for row in grid.rows] == ["b"]
    assert grid.left_out == 1


def test_every_kind_has_a_letter_of_its_own() -> None:
    """No two endings look the same."""
    assert set(LETTERS) == set(OUTCOMES)
    assert len(set(LETTERS.values())) == len(OUTCOMES)


def test_a_name_is_cut_in_its_middle() -> None:
    """Its end, where the parameters are, stays."""
    assert cut("tests/test_a.py::test_b[1-2]", 13) == "tests/…b[1-2]"
    assert cut("short", 5) == "short"
