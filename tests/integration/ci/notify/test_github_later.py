"""What GitHub did not take at the end of a run is sent later, and only what can still be sent."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployments.service.caretaker import Caretaker
from kvsync.ci.notify.github_double import FakeGitHub
from kvsync.ci.report.report import Report
from kvsync.ci.run.parameters import CommitSource, Parameters
from kvsync.ci.run.run import Installation
from kvsync.ci.run_folder import RunFolder
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.outcome import Check, merge
from tests.forking import COMMAND, Forking
from tests.integration.ci.notify.conftest import REPOSITORY, TOKEN

ROOT = Path(__file__).resolve().parents[4]
COMMIT = "c" * 40
MINUTE_S = 60.0
DAY_S = 24 * 3600.0

Ended = Callable[..., RunFolder]


@pytest.fixture
def ended(tmp_path: Path) -> Ended:
    """Make the folder of a run that ended some time ago, of which GitHub was not told."""

    def make(
        run: str = "20261120-030000-aaaa", stages: str = "unit", ago_s: float = 10 * MINUTE_S
    ) -> RunFolder:
        source = {"url": f"https://github.com/{REPOSITORY}.git", "commit": COMMIT, "repository": REPOSITORY}
        names = tuple(stages.split())
        parameters = Parameters(
            stages=names, source=CommitSource.model_validate(source), report_dir=tmp_path / "reports", run=run
        )
        folder, at = RunFolder(parameters.run_dir), datetime(2026, 11, 20, 3, tzinfo=UTC)
        folder.path.mkdir(parents=True)
        Ledger(folder.ledger)
        folder.ledger.touch()
        folder.parameters.write_text(parameters.model_dump_json())
        Report(
            run=run,
            started_at=at,
            duration_s=1.0,
            command="kvsync-ci run",
            stages=tuple(merge(each, [Check(name="a", kind="passed")], started_at=at) for each in names),
            parameters=parameters.model_dump(mode="json"),
            commit=COMMIT,
            branch="main",
            dirty=False,
            versions={},
            machine={},
        ).write(folder.report)
        os.utime(folder.report, (time.time() - ago_s,) * 2)
        return folder

    return make


def environ(double: FakeGitHub) -> dict[str, str]:
    """Return the variables of a process that may speak to a double."""
    github = {"KVSYNC_CI_GITHUB_API_URL": double.url, "KVSYNC_CI_GITHUB_TOKEN": TOKEN}
    return {**os.environ, **github, "KVSYNC_CI_GITHUB_RETRIES": "0"}


def upload(fork: Forking, double: FakeGitHub, reports: Path) -> tuple[int, str]:
    """Upload the last run by hand; returns the exit status of the command and all that it printed."""
    words = ("upload", "last", "--report-dir", str(reports))
    done = fork(COMMAND, *words, env=environ(double), cwd=ROOT)
    return done.returncode, done.stdout


def watch(double: FakeGitHub, folder: RunFolder, *times: float) -> None:
    """Let a caretaker look at these times, in seconds."""
    now = 0.0
    caretaker = Caretaker(
        report_dir=folder.path.parent,
        home="",
        installation=Installation.of(environ(double)),
        patience_s=60,
        clock=lambda: now,
    )
    for now in times:  # noqa: B007 - the caretaker's clock
        caretaker.send_again()


def test_a_caretaker_sends_what_github_did_not_take(double: FakeGitHub, ended: Ended) -> None:
    """As soon as GitHub takes it, and then no more."""
    folder = ended()
    double.fail(502, times=1)
    watch(double, folder, 0, 5 * MINUTE_S, 10 * MINUTE_S)

    assert folder.told.exists()
    assert double.states(COMMIT) == {"kvsync-ci": "success", "kvsync-ci/unit": "success"}
    assert len(double.requests) == 3


def test_a_github_that_is_away_is_not_flooded(double: FakeGitHub, ended: Ended) -> None:
    """One run at a look, and each of them every five minutes only."""
    ended(run="20261120-030000-bbbb", stages="e2e")
    folder = ended()
    double.fail(502)
    watch(double, folder, *(15.0 * look for look in range(24)))  # six minutes

    assert len(double.requests) == 4
    assert not folder.told.exists()


@pytest.mark.parametrize("ago_s", [1.0, DAY_S + 1], ids=["just ended", "of yesterday"])
def test_a_caretaker_leaves_other_runs_alone(double: FakeGitHub, ended: Ended, ago_s: float) -> None:
    """One that just ended is told by its own guardian, and an old status is no longer of interest."""
    watch(double, ended(ago_s=ago_s), 0)

    assert double.requests == []


def test_what_only_a_person_can_mend_is_not_sent_again(
    double: FakeGitHub, ended: Ended, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was said once, with its mend."""
    folder = ended()
    double.fail(422, message="No commit found")
    watch(double, folder, 0, 10 * MINUTE_S)

    said = caplog.text + capsys.readouterr().out
    assert said.count("the repository does not have this commit") == 1
    assert folder.told.exists()


def test_a_later_run_of_the_commit_has_the_last_word(double: FakeGitHub, ended: Ended) -> None:
    """What an earlier one could not send in time is not news where the later one judged it again."""
    later = ended(run="20261120-040000-bbbb", stages="unit")
    later.told.touch()
    ended(run="20261120-033000-bbbb", stages="unit")
    watch(double, ended(stages="unit e2e"), 0, 15)

    assert double.states(COMMIT) == {"kvsync-ci": "success", "kvsync-ci/e2e": "success"}
    assert len(double.requests) == 2


def test_people_can_send_it_by_hand(double: FakeGitHub, ended: Ended, fork: Forking) -> None:
    """Without a store, too; a failure is the exit status."""
    folder = ended(ago_s=7 * DAY_S)
    double.fail(502)

    status, said = upload(fork, double, folder.path.parent)
    assert (status, "GitHub answered 502" in said) == (1, True)
    double.recover()
    assert upload(fork, double, folder.path.parent) == (0, f"{folder.path.name}: GitHub has been told\n")
    assert double.states(COMMIT) == {"kvsync-ci": "success", "kvsync-ci/unit": "success"}


def test_a_run_that_never_knew_its_stages_leaves_no_commit_waiting(double: FakeGitHub, ended: Ended) -> None:
    """Its commit could not be fetched, or is malformed in what it says of its stages."""
    watch(double, ended(stages=""), 0.0)

    assert list(double.states(COMMIT)) == ["kvsync-ci"]
