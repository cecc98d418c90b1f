"""Reading `stages.toml`: every problem at once, each with its line and its mend."""

import textwrap
from pathlib import Path
from typing import get_args

import pytest

from kvsync.ci.lines import line_of
from kvsync.ci.project.model import CommandStageTable, PytestStageTable
from kvsync.ci.project.reading import parse_project, read_project
from kvsync.ci.project.values import ResultFormat
from kvsync.ci.readers.formats import FORMATS
from kvsync.errors import ConfigError

MALFORMED = """\
[project]
nme = "x"

[stages.unit]
kind = "pytest"
tiemout = 3
folder = "/x"
needs = ["b", "nowhere"]

[stages.b]
kind = "comand"
needs = "unit"

[stages.c]
command = "go test"

[stages.d]
kind = "command"
command = "go test"
timeout = "3 weeks"
results = ["a/{bla}.xml",
           "../x"]

[stages.Unit]
kind = "command"
command = []

[stages.workspace]
kind = "command"
command = ["x"]
retries = 3
"""

PROBLEMS = """\
stages.toml: 15 problems
stages.toml:2: project.nme: unknown key; is 'name' meant?
stages.toml:6: stages.unit.tiemout: unknown key; is 'timeout' meant?
stages.toml:7: stages.unit.folder: '/x' leads out of the repository; give a path below its top
stages.toml:8: stages.unit.needs: the stages wait for each other in a circle: unit -> b -> unit; leave one \
link out
stages.toml:8: stages.unit.needs: there is no stage 'nowhere'; there are: unit, b, c, d, Unit, workspace
stages.toml:10: stages.b: there is no kind 'comand'; is 'command' meant?
stages.toml:14: stages.c: has no kind; give one, such as kind = "pytest": pytest, command, \
benchmark, audit, load, chaos
stages.toml:19: stages.d.command: a list of words is needed, such as ['go', 'test']; no shell reads it
stages.toml:20: stages.d.timeout: '3 weeks' is no time; give seconds, or a text such as "90s", "10m" or "2h"
stages.toml:21: stages.d.results: {bla} stands for nothing; there are: out, output, profile, \
python, seed, workers
stages.toml:21: stages.d.results[1]: '../x' leads out of the repository; give a path below its top
stages.toml:24: stages.Unit: a name has small letters, digits and . _ - within; rename it
stages.toml:26: stages.Unit.command: it is empty; name a program
stages.toml:28: stages.workspace: 'workspace' is a name of the pipeline's own; choose another
stages.toml:31: stages.workspace.retries: input should be 0 or 1, not 3"""


def problems(text: str) -> list[str]:
    """Return what is said to be wrong."""
    with pytest.raises(ConfigError) as raised:
        parse_project(textwrap.dedent(text))
    return list(raised.value.problems)


def test_every_problem_is_told_at_once_with_its_line() -> None:
    """Unknown keys, wrong values, names and links; each says how it is mended."""
    with pytest.raises(ConfigError) as raised:
        parse_project(MALFORMED)

    assert str(raised.value) == PROBLEMS


@pytest.mark.parametrize(("text", "line"), [("[stages\n", 1), ("x = 1\nx = 2\n", 2), ("a = 1\nb = [1,\n", 2)])
def test_what_is_no_toml_says_where(text: str, line: int) -> None:
    """In front, as every problem does: the line of the parser, the last one where that is the end."""
    (problem,) = problems(text)

    assert problem.startswith(f"stages.toml:{line}: this is not TOML: ")


def test_without_stages_there_is_nothing_to_test() -> None:
    """A file that names none is a mistake, not a green run."""
    assert problems('[project]\nname = "x"\n') == ["stages.toml: stages: is missing; add it"]


def test_lists_that_are_empty_or_none() -> None:
    """They are told in the words of TOML, not in those of Python."""
    assert problems(
        """
        [project]
        prepare = "make"
        [stages.unit]
        kind = "command"
        command = ["x"]
        matrix = {mode = []}
        """
    ) == [
        "stages.toml:3: project.prepare: a list is needed, not 'make'",
        "stages.toml:7: stages.unit.matrix.mode: it is empty; give at least one value",
    ]


def test_a_matrix_may_not_make_one_name_twice() -> None:
    """Values that differ only in what names leave out, or that make the name of another stage."""
    (problem,) = problems(
        """
        [stages.unit]
        kind = "command"
        command = ["x"]
        matrix = {mode = ["A b", "a-b"]}
        """
    )

    assert (
        problem
        == "stages.toml:5: stages.unit.matrix: it makes several stages 'unit-a-b'; choose other values"
    )


def test_values_as_people_write_them() -> None:
    """A text stands for a list of one, and a time may have a unit."""
    project = parse_project(
        """
        [stages.unit]
        kind = "pytest"
        folder = "tests"
        timeout = "1.5m"

        [stages.lint]
        kind = "command"
        command = ["ruff", "check"]
        after = "unit"
        results = "lint.xml"
        """
    )

    unit, lint = project.stages["unit"], project.stages["lint"]
    assert isinstance(unit, PytestStageTable)
    assert isinstance(lint, CommandStageTable)
    assert (unit.timeout, unit.cluster, lint.after, lint.results) == (90, False, ("unit",), ("lint.xml",))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """It is said before anything starts."""
    (tmp_path / "stages.toml").write_text('[stages.unit]\nkind = "pytest"\nfolder = "tets"\n')

    with pytest.raises(ConfigError, match=r"stages.toml:3: stages.unit.folder: there is no folder 'tets'"):
        read_project(tmp_path)


def test_a_link_out_of_the_repository_is_not_followed(tmp_path: Path) -> None:
    """A tested commit could show any file of the machine by the problems in it."""
    (tmp_path / "secret").write_text("token = 1")
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "stages.toml").symlink_to(tmp_path / "secret")

    with pytest.raises(ConfigError, match="leads out of the repository"):
        read_project(tmp_path / "repository")


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (("stages", "unit", "timeout"), 9),
        (("stages", "unit", "environment", "A"), 4),
        (("stages", "unit", "nothing"), 3),
        (("stages", "a.b", "kind"), 11),
        (("project",), 1),
        (("elsewhere",), 0),
    ],
)
def test_the_line_of_a_value(where: tuple[str, ...], line: int) -> None:
    """Also after lists and texts of several lines, and of what only its table is known."""
    text = (
        '[project]\nname = "x"\n[stages.unit]\nenvironment = {A = "1"}\ncommand = [\n  "timeout = 3",\n]\n'
        'text = """"""\ntimeout = 3\n[stages."a.b"]\nkind = 3\n'
    )

    assert line_of(text, where) == line


def test_every_format_that_is_read_can_be_named() -> None:
    """The model stands below the readers, so that it names them itself."""
    assert get_args(ResultFormat) == FORMATS


def test_every_mistake_in_what_is_compared_has_its_line() -> None:
    """Also of keys and values within the table."""
    given = """
[stages.speed]
kind = "benchmark"
command = ["x"]

[stages.speed.compare]
with = "main"
pairs = 2
prepare = ["make"]
measurs = "x"
seen = 0
inconclusive = "passed"
"""
    with pytest.raises(ConfigError) as caught:
        parse_project(given)

    assert [each.removeprefix("stages.toml:") for each in caught.value.problems] == [
        "7: stages.speed.compare.with: input should be 'merge-base', not 'main'",
        "8: stages.speed.compare.pairs: input should be greater than or equal to 5, not 2",
        "9: stages.speed.compare.prepare[0]: a list of words is needed, such as ['make']; no shell reads it",
        "10: stages.speed.compare.measurs: unknown key; is 'measures' meant?",
        "11: stages.speed.compare.seen: input should be greater than or equal to 1, not 0",
        "12: stages.speed.compare.inconclusive: input should be 'undecided' or 'shown', not 'passed'",
    ]


@pytest.mark.parametrize("kind", ["process", "postgres"])
def test_what_is_compared_needs_no_program_of_the_repository(kind: str) -> None:
    """Both versions would measure the tested one; a database is nobody's version."""
    words = 'command = ["x"]\nready = "{url}/"' if kind == "process" else ""
    given = f"""
[services.api]
kind = "{kind}"
{words}

[stages.speed]
kind = "benchmark"
command = ["x"]
needs = "api"
compare = {{}}
"""
    if kind == "postgres":
        assert parse_project(given).stages
        return
    with pytest.raises(ConfigError, match=r"stages.toml:11: stages.speed.compare: it needs 'api', a program"):
        parse_project(given)


def test_our_own_file_is_read() -> None:
    """This repository describes its stages itself."""
    project = read_project(Path(__file__).parents[4])

    assert list(project.stages)[:3] == ["unit", "integration", "property"]


def test_shards_are_several_and_give_their_numbers() -> None:
    """What cannot be said beside them is told with what to say instead."""
    text = """
        [stages.unit]
        kind = "pytest"
        folder = "tests/{shard}"
        shards = 3
        coverage = {minimum = 90, of = "lines"}
        matrix = {shard = ["x"]}

        [stages.more]
        kind = "pytest"
        folder = "tests/{shard}"
        shards = 1

        [stages.api]
        kind = "pytest"
        folder = "tests"
        shards = 2

        [stages.api-2]
        kind = "command"
        command = ["x"]
    """
    assert problems(text) == [
        (
            "stages.toml:6: stages.unit.coverage.minimum: a shard runs a part of the tests; ask for it in "
            "[coverage], of all stages together"
        ),
        "stages.toml:7: stages.unit.matrix.shard: `shards` gives {shard} its values; call this one otherwise",
        (
            "stages.toml:11: stages.more.folder: {shard} stands for nothing; there are: out, output, "
            "profile, python, seed, workers"
        ),
        "stages.toml:12: stages.more.shards: input should be greater than or equal to 2, not 1",
        "stages.toml:17: stages.api.shards: it makes several stages 'api-2'; rename one",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            'compare = { cpu = "yes" }',
            "stages.b.compare.cpu: true or false is needed, without quotes, not 'yes'",
        ),
        (
            'compare = { pairs = "12" }',
            "stages.b.compare.pairs: a number is needed, without quotes, not '12'",
        ),
        (
            "compare = { pairs = true }",
            "stages.b.compare.pairs: a number is needed, without quotes, not True",
        ),
    ],
)
def test_a_text_is_neither_a_number_nor_a_switch(line: str, problem: str) -> None:
    """TOML has both: `"no"` would count as much as `"yes"`."""
    with pytest.raises(ConfigError) as caught:
        parse_project(f'[stages.b]\nkind = "benchmark"\ncommand = ["x"]\n{line}\n')

    assert [*caught.value.problems] == [f"stages.toml:4: {problem}"]


def test_a_file_may_begin_with_a_mark_of_its_encoding(tmp_path: Path) -> None:
    """Some editors write one (U+FEFF); it is not part of what they say."""
    text = '[stages.a]\nkind = "command"\ncommand = ["true"]\n'
    (tmp_path / "stages.toml").write_text(text, encoding="utf-8-sig")

    assert [*read_project(tmp_path).stages] == ["a"]
