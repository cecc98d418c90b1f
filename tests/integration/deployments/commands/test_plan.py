"""`kvsync-ci init` and `kvsync-ci plan`, and what every command says first."""

import json
import subprocess
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.cli import app, config_first
from deployments.commands.surroundings import introduce_scheduled, repository_meant, unread
from kvsync.ci.errors import NoRepository
from kvsync.ci.run.parameters import REPOSITORY
from kvsync.ci.settings import Settings
from kvsync.errors import ConfigError

FILE = """
[stages.unit]
kind = "pytest"
folder = "tests"
timeout = "9h"

[stages.night]
kind = "command"
command = ["sh", "-c", "sleep {n}"]
after = "unit"
matrix = {n = ["1", "2"]}
when = {triggers = ["schedule"]}
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a test and without a file of stages."""
    (tmp_path / "shop" / "tests").mkdir(parents=True)
    (tmp_path / "shop" / "tests" / "test_it.py").write_text("def test_a(): pass\n")
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "x"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        argv = ["git", "-C", str(tmp_path / "shop"), *identity, *words]
        subprocess.run(argv, check=True, timeout=30)
    return tmp_path / "shop"


def command(repository: Path, *words: str) -> Result:
    """Run a command about a repository."""
    where = ["--repository", str(repository), "--report-dir", str(repository.parent / "reports")]
    return CliRunner().invoke(app, [*words, *where], catch_exceptions=False)


def test_a_first_file_is_written_once(repository: Path) -> None:
    """It is shown, and one that is there is left alone."""
    done = command(repository, "init")

    assert (repository / "stages.toml").read_text() in done.stdout
    assert done.stderr.startswith(f"repository {repository} at ")
    assert "with uncommitted changes; stages: stages.toml; settings: " in done.stderr
    with pytest.raises(ConfigError, match="it is there already"):
        command(repository, "init")


def test_git_leaves_out_what_runs_leave(repository: Path) -> None:
    """In this clone alone, and it is said; what is left out already, or lies elsewhere, needs no word."""
    git = ("git", "-C", str(repository))
    said = []
    for folder in (repository / "reports", repository / "reports", repository.parent / "elsewhere"):
        (repository / "stages.toml").unlink(missing_ok=True)
        words = ["init", "--repository", str(repository), "--report-dir", str(folder)]
        said.append("git leaves out" in CliRunner().invoke(app, words, catch_exceptions=False).output)
        folder.mkdir(exist_ok=True)
        (folder / "report.json").touch()
    status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)

    assert said == [True, False, False]
    assert status.stdout == "?? stages.toml\n"


def test_a_package_that_setuptools_would_find_beside_the_runs_is_named(repository: Path) -> None:
    """Else the first run could not install it; runs that lie elsewhere are in nobody's way."""
    (repository / "pyproject.toml").write_text('[project]\nname = "shop"\nversion = "1"\n')
    (repository / "shop").mkdir()
    (repository / "shop" / "__init__.py").touch()
    elsewhere = command(repository, "init")
    (repository / "stages.toml").unlink()
    words = ["init", "--repository", str(repository), "--report-dir", str(repository / "reports")]
    inside = CliRunner().invoke(app, words, catch_exceptions=False)

    assert '[tool.setuptools]\npackages = ["shop"]\n' in inside.output
    assert "[tool.setuptools]" not in elsewhere.output


def test_two_profiles_of_one_stage_are_refused(repository: Path) -> None:
    """A run keeps one, and which of them would be chance."""
    (repository / "stages.toml").write_text(FILE)
    asked = ["--profiler", "unit=time", "--profiler", "unit=memory"]

    with pytest.raises(ConfigError, match="--profiler: unit is there twice"):
        command(repository, "run", "unit", *asked)


def test_a_plan_shows_what_would_run_and_what_would_not(repository: Path) -> None:
    """With the time that the owner allows at most; nothing is known of a stage that has never run."""
    (repository / "stages.toml").write_text(FILE)
    by_hand = json.loads(command(repository, "plan", "--json").stdout)["stages"]
    at_night = json.loads(command(repository, "plan", "--schedule", "nightly", "--json").stdout)["stages"]

    assert [(each["stage"], each["runs"], each["limit_s"], each["lately_s"]) for each in by_hand] == [
        ("unit", True, 14400.0, None),
        ("night-1", False, 900.0, None),
        ("night-2", False, 900.0, None),
    ]
    assert [(each["stage"], each["what"]) for each in at_night if each["runs"]] == [
        ("unit", "pytest tests"),
        ("night-1", "sh -c 'sleep 1'"),
        ("night-2", "sh -c 'sleep 2'"),
    ]
    assert "stages that would run: 1" in command(repository, "plan").stdout


def test_settings_that_lie_near_and_are_not_read_are_named(repository: Path) -> None:
    """With what has them read."""
    (repository / "kvsync-ci.toml").write_text("[serve]\nlimit = 7\n")

    said = command(repository, "plan").stderr.splitlines()

    near = repository / "kvsync-ci.toml"
    assert said[1:] == [f"warning: {near} is not read; if it is yours: kvsync-ci --config {near} ..."]
    assert unread(near, [repository, repository]) == []


def test_a_guess_is_called_one(repository: Path) -> None:
    """The first line says that no file describes the stages."""
    assert "stages: guessed, for there is no stages.toml" in command(repository, "plan").stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, f"repository {REPOSITORY} at "),
        ({"repository": "a/b"}, "repository https://github.com/a/b, branch x; "),
    ],
)
def test_what_schedules_test(
    given: dict[str, str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`deploy` and `serve` say it first: a branch of a server, or the files beside the pipeline."""
    more = {"shop": {"url": "/srv/shop.git"}}
    settings = Settings.model_validate({"github": given, "archive": {"branch": "x"}, "repositories": more})

    introduce_scheduled(settings, tmp_path)

    line = capsys.readouterr().err
    assert said in line
    assert "repository /srv/shop.git, branch main; " in line


def test_the_repository_is_the_one_that_one_stands_in(repository: Path) -> None:
    """From any of its folders; one that is in none is taken as it is."""
    with chdir(repository / "tests"):
        assert repository_meant(None) == repository
    with chdir("/"):
        assert repository_meant(None) == Path("/")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """In one line."""
    with pytest.raises(NoRepository, match=r"^--repository .*/nope: there is no such folder$"):
        repository_meant(tmp_path / "nope")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["run", "unit", "--config", "f"], ["--config", "f", "run", "unit"]),
        (["run", "--config=f", "unit"], ["--config=f", "run", "unit"]),
        (["run", "unit"], ["run", "unit"]),
        (["run", "--config"], ["--config", "run"]),
    ],
)
def test_the_settings_may_be_named_anywhere(given: Sequence[str], meant: Sequence[str]) -> None:
    """They belong to every command."""
    assert config_first(given) == meant


@pytest.mark.parametrize("words", [["run"], ["ingest", "results.tap"], ["serve"]], ids=" ".join)
def test_a_report_folder_that_cannot_be_made(repository: Path, words: Sequence[str]) -> None:
    """It is said in words before anything starts."""
    (repository / "results.tap").write_text("1..1\nok 1 - a\n")
    where = ["--report-dir", str(repository / "results.tap" / "reports")]

    with chdir(repository), pytest.raises(ConfigError, match=r"it cannot be made .*; name another"):
        CliRunner().invoke(app, [*words, *where], catch_exceptions=False)
