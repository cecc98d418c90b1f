"""`kvsync-ci baseline accept`: an entry for a slowdown, and what it excuses."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.cli import app
from kvsync.ci.paired.judgement import PairedLimits, PairedSamples, judge
from kvsync.ci.report.report import Report
from kvsync.ci.run.accepted import Accepted, accept, load_accepted
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.compared.checks import PairedComparison
from kvsync.errors import ConfigError, KVSyncError
from kvsync.testing.results.outcome import Outcome, StageResult, merge

TODAY = datetime.now(UTC)
GIVEN = (
    "--by",
    "@ana",
    "--reason",
    'it is "checked" now',
    "--until",
    f"{TODAY + timedelta(days=9):%Y-%m-%d}",
)

Command = Callable[..., Result]


def slower(*, percent: float = 12.2, gone: str = "") -> StageResult:
    """Return what a stage says of a measure that costs this much more, and perhaps of one that is gone."""
    samples = PairedSamples(base=[100.0] * 10, head=[100 + percent] * 10, unit="us")
    comparison = PairedComparison(
        base="0123456789abcdef",
        pairs=10,
        limits=PairedLimits(),
        is_shown_only=False,
        again="kvsync-ci ab",
        metrics=judge({"apply": samples}, PairedLimits()),
        alone={gone: "base"} if gone else {},
    )
    return merge("costs", comparison.checks(), started_at=TODAY)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run the command in a repository with a run in which `apply` was slower."""
    report = Report(
        run="run-1",
        started_at=TODAY,
        duration_s=1,
        command="",
        stages=(slower(),),
        parameters={},
        versions={},
        machine={},
    )
    folder = RunFolder(tmp_path / "reports" / "run-1")
    folder.path.mkdir(parents=True)
    report.write(folder.report)

    def run(*words: str) -> Result:
        there = ("--report-dir", str(tmp_path / "reports"), "--repository", str(tmp_path))
        return CliRunner().invoke(app, ["baseline", "accept", *words, *there], catch_exceptions=False)

    return run


def accepted(tmp_path: Path) -> Accepted:
    """Return what the repository accepts."""
    return load_accepted(tmp_path / "accepted.toml")


def test_a_slowdown_is_accepted_as_it_was_measured(command: Command, tmp_path: Path) -> None:
    """With room for noise; the same one does not fail any more, and is shown, a larger one does."""
    (tmp_path / "accepted.toml").write_text("# by hand\n")
    found = command("apply", *GIVEN)

    assert "apply may cost 16 % more until" in found.output
    assert "a run of a pull request heeds the file of its base branch, one by hand this one" in found.output
    assert (tmp_path / "accepted.toml").read_text().startswith("# by hand\n")
    (entry,) = accepted(tmp_path).slower
    assert (entry.measure, entry.up_to, entry.reason) == ("apply", 16, 'it is "checked" now')

    (same,) = accept(accepted(tmp_path), [slower()])
    assert [each.kind for each in same.checks] == ["quarantined"]
    (more,) = accept(accepted(tmp_path), [slower(percent=17)])
    assert more.outcome is Outcome.FAILED
    assert "up to 16 % are accepted, and this is more" in more.checks[0].detail


def test_a_second_entry_comes_behind_the_first(command: Command, tmp_path: Path) -> None:
    """Of a measure that is gone, too, which its entry excuses as well."""
    command("apply", *GIVEN)
    command("match", *GIVEN, "--up-to", "5", "--issue", "https://example.org/1")

    assert [each.measure for each in accepted(tmp_path).slower] == ["apply", "match"]
    (stage,) = accept(accepted(tmp_path), [slower(gone="match")])
    assert [each.kind for each in stage.checks] == ["quarantined", "quarantined"]


def test_more_may_be_accepted_later(command: Command, tmp_path: Path) -> None:
    """A second entry of the measure counts beside the first, until the same day as well."""
    command("apply", *GIVEN)
    command("apply", *GIVEN, "--up-to", "30")

    (stage,) = accept(accepted(tmp_path), [slower(percent=25)])
    assert [each.kind for each in stage.checks] == ["quarantined"]


def test_an_entry_that_is_over_counts_no_more(command: Command, tmp_path: Path) -> None:
    """And says so."""
    command("apply", *GIVEN)
    (stage,) = accept(accepted(tmp_path), [replace(slower(), started_at=TODAY + timedelta(days=10))])

    assert stage.outcome is Outcome.FAILED
    assert "is over: it counts again" in stage.checks[0].detail


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("aply", *GIVEN), "unknown slower measure 'aply'; valid: apply"),
        (("apply", *GIVEN[:-1], "2099-01-01"), "^the entry: 1 problem\nexpires 2099-01-01"),
        (("apply", *GIVEN, "--up-to", "0"), "up_to: input should be greater than 0"),
        (("apply", *GIVEN, "--run", "run-2"), "unknown run 'run-2'"),
    ],
    ids=["measure", "too long", "nothing", "run"],
)
def test_what_is_no_entry_is_not_written(
    command: Command, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    """Why, is said."""
    with pytest.raises((ConfigError, KVSyncError), match=says):
        command(*words)

    assert not (tmp_path / "accepted.toml").exists()
