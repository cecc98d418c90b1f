"""The projects in `examples/` have stages that this pipeline understands."""

from pathlib import Path

import pytest

from kvsync.ci.project.reading import read_project

EXAMPLES = Path(__file__).parents[4] / "examples"
NAMES = sorted(file.parent.name for file in EXAMPLES.glob("*/stages.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_read(name: str) -> None:
    """Every stage of its file, without a problem."""
    assert read_project(EXAMPLES / name).stages
