"""Which stages a run has."""

import textwrap
from pathlib import Path

import pytest

from kvsync.ci.project.choice import Occasion, choose, stages_of
from kvsync.ci.project.model import Project
from kvsync.ci.project.reading import parse_project, read_project
from kvsync.errors import ConfigError, UnknownName

OURS = read_project(Path(__file__).parents[4])
COMMIT = ("unit", "integration", "property", "machinery")


def project(**stages: str) -> Project:
    """Return a project of commands with these further lines."""
    tables = (
        f'[stages.{name}]\nkind = "command"\ncommand = ["x"]\n{lines}\n' for name, lines in stages.items()
    )
    return parse_project("".join(tables))


@pytest.mark.parametrize(
    ("occasion", "stages"),
    [
        (Occasion(trigger="push"), COMMIT),
        (Occasion(trigger="pull-request"), (*COMMIT, "e2e", "costs")),
        (Occasion(trigger="comment", trusted=False), COMMIT),
        (
            Occasion(trigger="schedule", schedule="nightly", profile="full"),
            (*COMMIT, "e2e", "benchmark", "costs", "load"),
        ),
        (
            Occasion(trigger="schedule", schedule="weekly", profile="full"),
            (*COMMIT, "e2e", "benchmark", "costs", "load", "chaos", "soak"),
        ),
        (Occasion(), (*COMMIT[:-1], "e2e", "benchmark", "costs", "load", "chaos", "soak")),
    ],
    ids=["push", "pull request", "fork", "nightly", "weekly", "by hand"],
)
def test_our_own_runs(occasion: Occasion, stages: tuple[str, ...]) -> None:
    """Each trigger has the stages that this repository's file says; a fork none that needs a cluster."""
    assert choose(OURS, (), occasion) == stages


def test_a_named_stage_runs_whenever_it_is_named() -> None:
    """In the order in which they are named."""
    assert choose(OURS, ("engines", "unit"), Occasion()) == ("engines", "unit")


def test_an_unknown_name_lists_those_there_are() -> None:
    """A misspelt stage is never a run without it."""
    with pytest.raises(UnknownName, match="unknown stage 'untit'; valid: unit, integration"):
        choose(OURS, ("untit",), Occasion())


def test_nothing_left_to_run_is_an_error() -> None:
    """A run of nothing would say nothing."""
    with pytest.raises(ConfigError, match="not for forks"):
        choose(OURS, ("chaos",), Occasion(trusted=False))
    with pytest.raises(ConfigError, match="no stage is part of a run by push"):
        choose(project(a="when = {triggers = ['manual']}"), (), Occasion(trigger="push"))


def test_what_a_stage_needs_comes_with_it_and_before_it() -> None:
    """What it only comes after is not asked for."""
    found = project(a="needs = 'b'\nafter = 'c'", b="needs = 'd'", c="", d="")

    assert choose(found, ("a",), Occasion()) == ("d", "b", "a")
    assert choose(found, ("a", "c"), Occasion()) == ("c", "d", "b", "a")


def test_a_matrix_makes_a_stage_of_each_combination() -> None:
    """A name stands for all of them, or for one."""
    found = project(unit="matrix = {python = ['3.11', '3.12'], db = ['pg 16']}")

    assert list(stages_of(found)) == ["unit-3.11-pg-16", "unit-3.12-pg-16"]
    assert choose(found, ("unit",), Occasion()) == ("unit-3.11-pg-16", "unit-3.12-pg-16")
    assert choose(found, ("unit-3.12-pg-16",), Occasion()) == ("unit-3.12-pg-16",)


@pytest.mark.parametrize(
    ("changed", "stages"),
    [(None, ("a", "b")), (["docs/x.md"], ("b",)), (["docs/x.md", "src/x.py"], ("a", "b"))],
    ids=["not known", "others", "its own"],
)
def test_changed_paths(changed: list[str] | None, stages: tuple[str, ...]) -> None:
    """What is not known may be anything."""
    found = project(a="when = {paths = 'src/**'}", b="")

    assert choose(found, (), Occasion(changed=changed)) == stages


def test_shards_make_a_stage_of_each_part_for_each_combination() -> None:
    """Each knows the others of its combination, which have the rest of its tests."""
    text = """
        [stages.unit]
        kind = "pytest"
        folder = "tests"
        shards = 2
        matrix = {python = ["3.11", "3.12"]}
        [stages.after]
        kind = "command"
        command = ["x"]
        needs = "unit"
    """
    found = parse_project(textwrap.dedent(text))
    units = ("unit-3.11-1", "unit-3.11-2", "unit-3.12-1", "unit-3.12-2")
    shard = stages_of(found)["unit-3.12-2"].shard

    assert tuple(stages_of(found)) == (*units, "after")
    assert choose(found, ("after",), Occasion()) == (*units, "after")
    assert choose(found, ("unit-3.12-2",), Occasion()) == ("unit-3.12-2",)
    assert shard
    assert (str(shard), shard.whole, shard.others) == ("2/2", "unit-3.12", ("unit-3.12-1",))
    assert stages_of(found)["unit-3.12-2"].values == {"python": "3.12", "shard": "2"}
    assert stages_of(found)["after"].shard is None
