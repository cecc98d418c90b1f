"""The graph in CONTRIBUTING.md is the one that the code has, and the numbers that rules forbid are zero."""

from collections import Counter
from pathlib import Path

import pytest

from docs.scripts.pages import ROOT
from docs.scripts.rooms import (
    GUIDE,
    ROOTS,
    Arrows,
    between_siblings,
    circles,
    crowded,
    drawing,
    duplicated,
    imports,
    long_functions,
    packages,
    updated,
)

CODE = [file for root in ROOTS for file in (ROOT / root).rglob("*.py")]


@pytest.fixture(scope="module")
def modules() -> Arrows:
    """What imports what in this repository."""
    return imports()


def test_the_graph_is_up_to_date(modules: Arrows) -> None:
    """CONTRIBUTING.md has today's graph; `python docs/scripts/rooms.py --write` puts it there."""
    guide = GUIDE.read_text(encoding="utf-8")

    assert updated(guide, drawing(between_siblings(modules), packages())) == guide


def test_nothing_is_imported_in_a_circle(modules: Arrows) -> None:
    """No file, and no package beside another one, is imported by what it imports."""
    assert circles(modules) == set()
    assert circles(between_siblings(modules)) == set()


def test_no_folder_is_crowded() -> None:
    """Code and tests alike lie in folders that can be taken in at a glance."""
    files = [*CODE, *(ROOT / "tests").rglob("*.py")]

    assert crowded(Counter(str(file.parent) for file in files if file.stem != "__init__")) == []


def test_one_noun_has_one_class_name() -> None:
    """No two public classes of the packages share a name."""
    assert duplicated(CODE) == []


def test_what_is_forbidden_is_found(tmp_path: Path) -> None:
    """Each of the checks above sees a planted violation."""
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("class Load: ...\nclass _Own: ...\n")
    other.write_text("class Load: ...\nclass _Own: ...\ndef long():\n" + "    pass\n" * 60)
    arrows = {"a.x.one": {"a.y.two"}, "a.y.three": {"a.x.one"}, "a.y.two": set[str]()}

    assert duplicated([one, other]) == ["Load"]
    assert long_functions([one, other]) == ["other.py: long"]
    assert crowded({"full": 20, "crowded": 21}) == ["crowded"]
    assert circles(arrows) == set()
    assert circles(between_siblings(arrows)) == {"a.x", "a.y"}
    assert circles({"one": {"two"}, "two": {"three"}, "three": {"two"}}) == {"two", "three"}


def test_the_graph_reads_from_the_top_down() -> None:
    """What imports comes before what is imported, folder by folder."""
    arrows = {"kvsync.ci": {"kvsync.testing", "kvsync.errors"}, "kvsync.testing": {"kvsync.errors"}}

    assert drawing(arrows, {"kvsync.ci", "kvsync.testing"}).splitlines() == [
        "kvsync/",
        "  ci      -> testing, errors",
        "  testing -> errors",
    ]
