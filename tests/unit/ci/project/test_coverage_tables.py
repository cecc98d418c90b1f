"""What `stages.toml` says of coverage."""

import pytest

from kvsync.ci.project.choice import stages_of
from kvsync.ci.project.coverage import CommandCoverage, PathMinimum, PytestCoverage
from kvsync.ci.project.reading import parse_project
from kvsync.errors import ConfigError

FILE = """
[coverage]
minimum = 85
paths = {"src/core/**" = 90, "src/codec.py" = {minimum = 95, of = "branches"}}

[stages.unit]
kind = "pytest"
folder = "tests"
coverage = {source = ["src"], profiles = ["full"]}

[stages.go]
kind = "command"
command = ["go", "test"]
coverage = {files = "{out}/cover.out", minimum = 70}

[stages.lint]
kind = "command"
command = ["ruff", "check"]
"""


def test_what_is_asked_of_all_stages_and_of_each() -> None:
    """A path has a minimum in the terms of the whole, or in its own."""
    project = parse_project(FILE)

    assert project.coverage is not None
    assert project.coverage.paths == {
        "src/core/**": PathMinimum(minimum=90),
        "src/codec.py": PathMinimum(minimum=95, of="branches"),
    }
    stages = stages_of(project)
    assert stages["go"].coverage_of("quick") == CommandCoverage(files=("{out}/cover.out",), minimum=70)
    assert stages["unit"].coverage_of("quick") is None
    assert stages["unit"].coverage_of("full") == PytestCoverage(source=("src",), profiles=("full",))
    assert stages["lint"].coverage_of("full") is None


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("source =", "sauce =", "stages.toml:9: stages.unit.coverage.sauce: unknown key; is 'source' meant?"),
        (
            'files = "{out}/cover.out", ',
            "",
            "stages.toml:14: stages.go.coverage.files: is missing; add it",
        ),
        ('"src/core/**"', '"!src"', "stages.toml:4: coverage.paths: '!src' is no pattern of paths"),
        ("= 85", "= 185", "stages.toml:3: coverage.minimum: input should be less than or equal to 100"),
        ('of = "branches"', 'of = "all"', "stages.toml:4: coverage.paths.src/codec.py.of: input should be"),
        ('["src"]', '["/src"]', "stages.toml:9: stages.unit.coverage.source[0]: '/src' leads out of"),
    ],
)
def test_mistakes(before: str, after: str, said: str) -> None:
    """Each is told with its line and its mend."""
    assert before in FILE

    with pytest.raises(ConfigError) as caught:
        parse_project(FILE.replace(before, after))

    assert said in str(caught.value)


def test_a_gate_without_anything_to_judge() -> None:
    """Nothing that measures is a mistake, not a gate that is always open."""
    text = "\n".join(line for line in FILE.splitlines() if not line.startswith("coverage ="))

    with pytest.raises(ConfigError, match=r"stages.toml:2: coverage: no stage is covered; give those that"):
        parse_project(text)
