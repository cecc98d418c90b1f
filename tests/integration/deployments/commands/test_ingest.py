"""`kvsync-ci ingest`: results of another CI, kept like those of a run."""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import pytest
from typer.testing import CliRunner, Result

from deployments.cli import app
from kvsync.ci.notify.github_double import FakeGitHub
from kvsync.ci.report.report import Report
from kvsync.ci.run_folder import RunFolder, find_run
from kvsync.errors import ConfigError, UnknownName
from kvsync.testing.results.outcome import Outcome

TOKEN = "ghp_veryPrivate123"  # noqa: S105 - of the double
COMMIT = "a" * 40
TODAY, DAY = datetime.now(UTC).date(), timedelta(days=1)
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})

GREEN = "1..2\nok 1 - a\nok 2 - b\n"
RED = "1..2\nok 1 - a\nnot ok 2 - b\n  ---\n  message: 'lost a block'\n  ...\n"

Command = Callable[..., Result]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout to stand in, with one commit on main."""
    folder = tmp_path / "stock"
    folder.mkdir()
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.com"]
    (folder / "a.go").write_text("package a\n")
    (folder / ".gitignore").write_text("*.out\n")
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run `kvsync-ci` with the reports of the test."""

    def run(*words: str, env: Mapping[str, str] = NO_VARIABLES) -> Result:
        words = (*words, "--report-dir", str(tmp_path / "reports"))
        return CliRunner().invoke(app, words, env=dict(env), catch_exceptions=False)

    return run


def write(folder: Path, text: str, name: str = "results.out") -> str:
    """Write a file of results; returns its path."""
    (folder / name).write_text(text)
    return str(folder / name)


def last(tmp_path: Path) -> tuple[RunFolder, Report]:
    """Return the last run."""
    folder = find_run(tmp_path / "reports", "last")
    return folder, Report.read(folder.report)


def test_results_become_a_run(tmp_path: Path, checkout: Path, command: Command) -> None:
    """What is checked out was tested; every command that looks at runs finds it, marked as ingested."""
    red = command("ingest", write(checkout, RED), "--stage", "tap")
    folder, report = last(tmp_path)

    assert red.exit_code == 1
    assert "FAILED: tap: 1 of 2 failed: b: lost a block" in red.stdout
    assert (report.branch, report.dirty, len(report.commit)) == ("main", False, 40)
    assert (report.parameters["trigger"], report.machine, report.versions) == ("ingest", {}, {})
    assert [path.name for path in folder.ingested.iterdir()] == ["1-results.out"]
    assert folder.page.exists()
    assert folder.told.exists()
    (listed,) = json.loads(command("list", "--json").stdout)
    assert (listed["run"], listed["verdict"]) == (report.run, "failed")
    assert "lost a block" in command("show", "last").stdout
    (past,) = json.loads(command("history", "--json").stdout)
    assert (past["trigger"], past["cluster"], past["stages"]["tap"]["outcome"]) == (
        "ingest",
        "ingested",
        "failed",
    )


def test_a_change_of_sides_at_one_commit_is_flaky(checkout: Path, command: Command) -> None:
    """As it is for runs of the pipeline itself."""
    command("ingest", write(checkout, RED), "--stage", "tap")
    command("ingest", write(checkout, GREEN), "--stage", "tap")

    (flaky,) = json.loads(command("flaky", "--json").stdout)["tests"]
    assert (flaky["test"], flaky["stage"], flaky["verdict"]) == ("b", "tap", "flaky")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["missing.out"], "was it written where it is looked for"),
        (["a.go"], "no format that is read"),
        (["results.out", "--stage", "../x"], "letters, digits"),
        (["results.out", "--stage", "workspace"], "the pipeline's own report"),
        (["results.out", "--commit", "HEAD"], "the full hash"),
        (["results.out", "--pull-request", "7"], "name it, with --commit"),
        (["results.out", "--repository", "no where"], "not owner/name"),
        (["results.out", "--format", "trx"], "unknown format"),
    ],
)
def test_bad_input_keeps_nothing(
    tmp_path: Path, checkout: Path, command: Command, words: Sequence[str], error: str
) -> None:
    """Each is one error with its mend, before anything is written."""
    write(checkout, GREEN)

    with pytest.raises((ConfigError, UnknownName), match=error):
        command("ingest", *words)

    assert not (tmp_path / "reports").exists()


def test_a_file_that_is_cut_is_unknown(checkout: Path, command: Command) -> None:
    """It is kept as evidence, and not green; so is an empty one."""
    cut = command("ingest", write(checkout, GREEN[:-8]))
    empty = command("ingest", write(checkout, ""), "--format", "tap")

    assert [cut.exit_code, empty.exit_code] == [2, 2]
    assert "UNKNOWN: ingested: results.out: 2 tests are planned, 1 are there" in cut.stdout
    assert "UNKNOWN: ingested: no test ran; results.out: the file is empty" in empty.stdout


def test_what_gates_is_in_the_repository(checkout: Path, command: Command) -> None:
    """Accepted findings are set aside for a branch itself, not for a change that asks to be merged."""
    audit = {"dependencies": [{"name": "u", "version": "1", "vulns": [{"id": "PYSEC-1"}]}], "fixes": []}
    (checkout / "accepted.toml").write_text(
        '[[accepted]]\nfinding = "PYSEC-1"\nowner = "@o"\nreason = "r"\nissue = "i"\n'
        f"added = {TODAY - DAY}\nexpires = {TODAY + DAY}\n"
    )
    file = write(checkout, json.dumps(audit))
    own = command("ingest", file)
    asked = command("ingest", file, "--commit", COMMIT, "--pull-request", "7")

    assert [own.exit_code, asked.exit_code] == [0, 1]
    assert "1 of them quarantined" in own.stdout


def test_measurements_are_kept(tmp_path: Path, checkout: Path, command: Command) -> None:
    """They are in the report's page and in the trends, like those of a benchmark stage."""
    file = write(checkout, json.dumps([{"name": "qps", "unit": "1/s", "value": 7}]))

    assert command("ingest", file, "--format", "customBiggerIsBetter").exit_code == 0
    assert "qps" in last(tmp_path)[0].page.read_text()


def test_only_the_stage_has_a_status(checkout: Path, command: Command) -> None:
    """The status of the whole is that of the pipeline, of which another CI is a part."""
    with FakeGitHub("octo/engine", token=TOKEN) as github:
        env = {"KVSYNC_CI_GITHUB_API_URL": github.url, "KVSYNC_CI_GITHUB_TOKEN": TOKEN}
        words = ["--stage", "node", "--repository", "octo/engine", "--commit", COMMIT, "--pull-request", "7"]
        assert command("ingest", write(checkout, RED), *words, env=env).exit_code == 1

        assert github.states(COMMIT) == {"kvsync-ci/node": "failure"}
        assert not github.comments


def test_what_another_ci_ran_is_not_run_here(checkout: Path, command: Command) -> None:
    """The error names the command that reads the files again, which works."""
    command("ingest", write(checkout, RED), "--stage", "tap")
    with pytest.raises(ConfigError, match="another CI made it") as caught:
        command("rerun", "last")

    words = str(caught.value).partition("again with: kvsync-ci ")[2].split()
    assert command(*words).exit_code == 1


def test_junit_can_be_recorded(tmp_path: Path, checkout: Path, command: Command) -> None:
    """Without the option it only says what it reads."""
    file = write(checkout, '<testsuite name="s" tests="1"><testcase name="t"/></testsuite>')

    assert command("junit", file).exit_code == 0
    assert not (tmp_path / "reports").exists()
    assert command("junit", file, "--record", "--stage", "java").exit_code == 0
    assert last(tmp_path)[1].stages[0].name == "java"
    assert last(tmp_path)[1].verdict is Outcome.PASSED
