"""The planted defects in `defects/`, by which the tests were seen to fail, still fit the code."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PATCHES = sorted((TOP / "defects").glob("*.patch"))


def lines(patch: str, sign: str) -> str:
    """Return the lines of a patch's only hunk as they are before (-) or after (+) it."""
    hunk = re.split(r"^@@.*\n", patch, flags=re.MULTILINE)[1]
    return "".join(line[1:] for line in hunk.splitlines(keepends=True) if line[0] in (" ", sign))


def test_there_are_five() -> None:
    """Each is to be caught by a stage: README.md says by which."""
    assert len(PATCHES) == 5
    table = (TOP / "README.md").read_text()
    assert all(f"`{patch.stem}`" in table for patch in PATCHES)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda path: path.stem)
def test_a_defect_can_be_planted(patch: Path) -> None:
    """What it changes is there, once."""
    text = patch.read_text()
    found = re.search(r"^\+\+\+ b/(\S+)$", text, re.MULTILINE)
    assert found
    assert (TOP / found[1]).read_text().count(lines(text, "-")) == 1
    assert lines(text, "-") != lines(text, "+")
