"""The table in README.md names what there is."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[2]
NAMED = sorted(set(re.findall(r"`([\w/]+\.(?:py|toml)::[\w.-]+)`", (TOP / "README.md").read_text())))


def entry(table: Any, path: str) -> Any:
    """Return what a dotted path leads to in a file; an entry of a list is found by its name or kind."""
    for part in path.split("."):
        if isinstance(table, list):
            table = {each.get("name", each["kind"]): each for each in table}
        table = table[part]
    return table


@pytest.mark.parametrize("named", NAMED)
def test_everything_that_the_table_names_exists(named: str) -> None:
    """Each test in its file, and each entry of stages.toml."""
    file, _, name = named.partition("::")
    if file == "stages.toml":
        assert entry(tomllib.loads((TOP / file).read_text()), name)
    else:
        assert re.search(rf"^(async )?def {name}\(", (TOP / "tests" / file).read_text(), re.MULTILINE)


def test_the_table_names_all_tests_of_properties() -> None:
    """All 25 of them; and each threshold that it quotes is one of the load's."""
    found = [each for each in NAMED if each.startswith("property/")]
    assert len(found) == 25
    quoted = re.findall("“(.+?)”", (TOP / "README.md").read_text())
    thresholds = tomllib.loads((TOP / "stages.toml").read_text())["stages"]["load"]["thresholds"]
    assert quoted
    assert set(quoted) <= set(thresholds)
