"""A whole run that reports to a double of GitHub, which takes everything, something or nothing.

What is said where GitHub is to hear nothing is in tests/integration/ci/notify: it takes no whole run.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from kvsync.ci.notify.github_double import FakeGitHub
from kvsync.ci.report.owners import owners_of
from kvsync.ci.report.report import Report
from kvsync.ci.run.parameters import CommitSource, Parameters
from kvsync.ci.run_folder import RunFolder
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.outcome import Outcome

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "octo/engine"
TOKEN = "ghp_veryPrivate123"  # noqa: S105 - of the double

Start = Callable[..., tuple[subprocess.Popen[str], RunFolder]]
Run = Callable[..., tuple[Report, str]]


@pytest.fixture
def double() -> Iterator[FakeGitHub]:
    """GitHub, with one repository."""
    with FakeGitHub(REPOSITORY, token=TOKEN) as github:
        yield github


@pytest.fixture
def start(server: str, tmp_path: Path, repository: Callable[..., str]) -> Iterator[Start]:
    """Start the run of a commit with these tests; its process ends with the test."""
    processes = []

    def start(
        variables: Mapping[str, str],
        tests: Mapping[str, str],
        trigger: str = "pull-request",
        quarantine: str = "",
        proposed: str = "",
        **source: object,
    ) -> tuple[subprocess.Popen[str], RunFolder]:
        folder = repository(**tests)
        (Path(folder) / "quarantine.toml").write_text(quarantine)
        (Path(folder) / "CODEOWNERS").write_text("* @ana\n")
        git = ["git", "-C", folder, "-c", "user.name=x", "-c", "user.email=x@example.com"]
        for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "all"]):
            subprocess.run([*git, *words], check=True)
        if proposed:
            (Path(folder) / "quarantine.toml").write_text(proposed)
            (Path(folder) / "CODEOWNERS").write_text("* @eve\n")
            for words in (["checkout", "-q", "-b", "topic"], ["commit", "-q", "-a", "-m", "more"]):
                subprocess.run([*git, *words], check=True)
        asked = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
        commit = {"url": f"file://{folder}", "commit": asked.stdout.strip(), "repository": REPOSITORY}
        parameters = Parameters(
            stages=tuple(tests),
            source=CommitSource.model_validate(commit | source),
            trigger=trigger,  # type: ignore[arg-type]  # checked by pydantic
            report_dir=tmp_path / "reports",
            run="20261120-030000-ab12",
        )
        run_folder = RunFolder(parameters.run_dir)
        parameters.keep_in(run_folder)
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "deployments.process", str(run_folder.path)],
                env={**os.environ, "PREFECT_API_URL": server, **variables},
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        processes.append(process)
        return process, run_folder

    yield start
    for process in processes:
        process.kill()
        process.wait()
    # Each look takes 10 ms of CPU: it reads the command line of every process of the machine.
    wait_for(
        lambda: not _guardians(tmp_path),
        what="the guardians have told Prefect",
        timeout_s=60,
        interval_s=0.3,
    )


@pytest.fixture
def run(start: Start, tmp_path: Path) -> Run:
    """Run to the end; returns the report, and everything that was logged."""

    def run(*given: object, **source: object) -> tuple[Report, str]:
        process, folder = start(*given, **source)
        process.wait(100)
        return Report.read(folder.report), (tmp_path / "log").read_text()

    return run


def access(double: FakeGitHub, token: str = TOKEN) -> dict[str, str]:
    """Return the variables that lead to a double."""
    return {"KVSYNC_CI_GITHUB_API_URL": double.url, "KVSYNC_CI_GITHUB_TOKEN": token}


@pytest.mark.timeout(120)
def test_a_pull_request_from_a_fork_is_told_everything(double: FakeGitHub, run: Run, tmp_path: Path) -> None:
    """Each stage is pending, running and judged, there is one comment, and the fork saw no token.

    Its end links to the report that is served, and so does the comment.
    """
    dump = "import os\ndef test_dump(): print(dict(os.environ))"

    report, log = run(
        access(double) | {"KVSYNC_CI_SERVE_REPORTS_URL": "https://ci.example/reports/"},
        {"unit": dump, "integration": "def test_broken(): assert 3 == 4, '@octocat'"},
        pull_request=7,
        trusted=False,
    )

    told: dict[str, list[tuple[str, str]]] = {}
    for each in double.statuses:
        assert (each.repository, each.commit) == (REPOSITORY, report.commit)
        told.setdefault(each.context, []).append((each.state, each.description))
    assert told == {
        "kvsync-ci": [("pending", "waiting"), ("failure", told["kvsync-ci"][-1][1])],
        "kvsync-ci/unit": [
            ("pending", "waiting"),
            ("pending", "running"),
            ("success", "1 passed"),
            ("success", "1 passed"),
        ],
        "kvsync-ci/integration": [
            ("pending", "waiting"),
            ("pending", "running"),
            ("failure", "1 failed"),
            ("failure", told["kvsync-ci/integration"][-1][1]),
        ],
    }
    page = "https://ci.example/reports/20261120-030000-ab12/report.html"
    assert [each.target_url for each in double.statuses[-3:]] == [page] * 3
    (comment,) = double.comments
    assert f"[report](<{page}>)" in comment.body
    assert comment.number == 7
    assert "### kvsync-ci: FAILED" in comment.body
    (dumped,) = next(stage for stage in report.stages if stage.name == "unit").checks
    assert "'PATH': " in dumped.log_tail
    assert TOKEN not in log + comment.body
    assert TOKEN not in "".join(path.read_text(errors="replace") for path in _files(tmp_path / "reports"))


def quarantined(test: str, owner: str, reason: str) -> str:
    """Return an entry of a quarantine that has begun today."""
    today = datetime.now(UTC).date()
    return (
        f'[[quarantine]]\ntest = "tests/{test}"\nowner = "{owner}"\nreason = "{reason}"\n'
        f'issue = "#12"\nadded = {today}\nexpires = {today + timedelta(days=7)}\n'
    )


@pytest.mark.timeout(120)
def test_a_pull_request_cannot_set_its_own_failure_aside(double: FakeGitHub, run: Run) -> None:
    """What it adds to the quarantine counts only after it is merged, as do the owners that it names.

    What was there before does not gate: its failure is counted, and its stage does not fail at any time.
    """
    known = quarantined("unit/test_unit.py::test_known", "@ana", "slow exit")
    own = quarantined("integration/test_integration.py::test_broken", "@eve", "mine")
    tests = {
        "unit": "def test_known(): assert False\ndef test_fine(): pass",
        "integration": "def test_broken(): assert False\ndef test_fine(): pass",
    }

    report, log = run(
        access(double), tests, quarantine=known, proposed=known + own, pull_request=7, base="main"
    )

    assert report.verdict is Outcome.FAILED, log
    integration = next(stage for stage in report.stages if stage.name == "integration")
    (broken,) = [check for check in integration.checks if check.kind == "failed"]
    assert "by @eve: mine (#12) is added by this commit: it counts only after it is merged" in broken.detail
    assert owners_of(broken) == "@ana"
    ended = [(each.context, each.state, each.description) for each in double.statuses]
    assert [each for each in ended if each[0] == "kvsync-ci/unit" and each[1] != "pending"] == [
        ("kvsync-ci/unit", "success", "1 passed, 1 quarantined")
    ] * 2
    assert double.states(report.commit) == {
        "kvsync-ci": "failure",
        "kvsync-ci/unit": "success",
        "kvsync-ci/integration": "failure",
    }


@pytest.mark.timeout(120)
def test_a_scheduled_run_opens_an_issue_though_statuses_fail(double: FakeGitHub, run: Run) -> None:
    """What GitHub does not take is logged with its mend; the rest is sent, and the verdict stands."""
    double.fail(422, message="No commit found", on="/statuses/")

    report, log = run(access(double), {"unit": "def test_broken(): assert False"}, trigger="schedule")

    assert report.verdict is Outcome.FAILED
    assert [(each.title, each.state, each.labels) for each in double.issues] == [
        ("The scheduled run fails", "open", ("kvsync-ci",))
    ]
    assert double.comments == []
    assert "the repository does not have this commit" in log


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_a_run_that_is_cut_short_ends_as_an_error(
    double: FakeGitHub, start: Start, number: signal.Signals
) -> None:
    """No status stays pending, and none says that what was not judged failed or passed."""
    hangs = "import time\ndef test_hangs(): time.sleep(90)"
    process, folder = start(access(double), {"unit": hangs, "integration": hangs}, pull_request=7)
    wait_for(
        lambda: any(each.description == "running" for each in double.statuses),
        what="a stage is shown as running",
        timeout_s=60,
    )

    process.send_signal(number)
    wait_for(folder.told.exists, what="GitHub was told of the end", timeout_s=60)

    assert set(double.states(double.statuses[0].commit).values()) == {"error"}
    assert all(each.description.startswith("not judged: ") for each in double.statuses[-3:])
    (comment,) = double.comments
    assert "### kvsync-ci: UNKNOWN" in comment.body


@pytest.mark.timeout(180)
def test_what_github_did_not_take_at_the_end_is_sent_when_it_is_back(
    double: FakeGitHub, start: Start, tmp_path: Path
) -> None:
    """The guardian of the run, which outlives it, tries once more; nothing stays pending."""
    away = tmp_path / "away"
    waits = (
        f"import os, time\ndef test_waits():\n    while not os.path.exists({str(away)!r}): time.sleep(0.1)"
    )
    # In a box of ours the test would not see the file.
    given = access(double) | {"KVSYNC_CI_GITHUB_RETRIES": "2", "KVSYNC_CI_BOX_KIND": "container"}
    process, folder = start(given, {"unit": waits}, pull_request=7)
    wait_for(
        lambda: any(each.description == "running" for each in double.statuses),
        what="the stage is shown as running",
        timeout_s=60,
    )

    double.fail(502)
    away.touch()
    process.wait(100)
    assert set(double.states(double.statuses[0].commit).values()) == {"pending"}
    double.recover()
    wait_for(folder.told.exists, what="GitHub was told of the end", timeout_s=60)

    assert set(double.states(double.statuses[0].commit).values()) == {"success"}
    assert len(double.comments) == 1


def _guardians(folder: Path) -> list[psutil.Process]:
    every = psutil.process_iter(["cmdline"])
    return [each for each in every if any(str(folder) in word for word in each.info["cmdline"] or ())]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
