"""The files of a commit, and what gates it: git is the real one, with repositories of this machine."""

import subprocess
import threading
from pathlib import Path

import pytest

from kvsync.ci.revision import difference_from
from kvsync.ci.run.parameters import CommitSource
from kvsync.ci.stages.stage import StageContext
from kvsync.ci.stages.workspace import WorkspaceStage, at_gate, changed_paths, left_base_at
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.outcome import Outcome
from kvsync.testing.results.verdicts import NotRun

FILE = Path("gate/quarantine.toml")


def git(folder: Path, *words: str) -> str:
    """Run git; returns what it printed."""
    argv = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org", *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """A repository whose branch `trunk` has a quarantine, and `topic` another."""
    folder = tmp_path / "upstream"
    (folder / FILE).parent.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch", "trunk")
    for branch in ("trunk", "topic"):
        (folder / FILE).write_text(branch)
        if branch != "trunk":
            git(folder, "checkout", "--quiet", "-b", branch)
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", branch)
    git(folder, "rm", "--quiet", str(FILE))
    git(folder, "checkout", "--quiet", "-b", "without")
    git(folder, "commit", "--quiet", "--message", "without")
    git(folder, "checkout", "--quiet", "trunk")
    return folder


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    """A run that may begin."""
    run_dir = tmp_path / "run"
    (run_dir / "logs").mkdir(parents=True)
    return StageContext(
        run_dir=run_dir,
        repository=run_dir / "workspace",
        ledger=Ledger(run_dir / "ledger.jsonl", run="r"),
        stop=threading.Event(),
    )


@pytest.mark.parametrize(
    ("gate", "found"),
    [("HEAD", "trunk"), ("refs/heads/without", None), ("refs/heads/main", "trunk"), ("", None)],
    ids=["the server's own", "a branch without", "no such branch", "none"],
)
def test_what_gates_comes_from_the_server(
    upstream: Path, context: StageContext, gate: str, found: str | None
) -> None:
    """Beside the commit's own, which stays as it is; without that branch from the server's own."""
    commit = git(upstream, "rev-parse", "topic")

    result = WorkspaceStage(upstream.as_uri(), commit, gate=gate, files=[FILE]).run(context)

    fetched = at_gate(context.repository) / FILE
    assert result.outcome is Outcome.PASSED
    assert (context.repository / FILE).read_text() == "topic"
    assert (fetched.read_text() if fetched.exists() else None) == found
    assert git(context.repository, "status", "--porcelain") == ""


def test_a_commit_that_is_not_there_is_not_run(upstream: Path, context: StageContext) -> None:
    """In git's words."""
    with pytest.raises(NotRun, match=r"0{40} cannot be fetched from file:"):
        WorkspaceStage(upstream.as_uri(), "0" * 40, gate="HEAD", files=[FILE]).run(context)


@pytest.mark.parametrize(
    ("fields", "gate", "own"),
    [
        ({}, "", True),
        ({"pull_request": 7}, "HEAD", False),
        ({"trusted": False}, "", False),
        ({"pull_request": 7, "base": "release"}, "refs/heads/release", False),
        ({"base": "release"}, "refs/heads/release", False),
    ],
)
def test_whose_quarantine_gates(fields: dict[str, object], gate: str, *, own: bool) -> None:
    """A commit of the repository's own branch has its own; what asks to be merged, that of where it goes."""
    source = CommitSource.model_validate({"url": "https://example.org/a/b.git", "commit": "a" * 40, **fields})

    assert (source.gate, source.gates_itself) == (gate, own)
    assert ("base" in source.model_dump()) is ("base" in fields)


def test_what_a_commit_changes_is_known_where_its_gate_is_fetched(
    upstream: Path, context: StageContext
) -> None:
    """By the paths, whatever else is in the repository; without a gate it is not known."""
    git(upstream, "checkout", "--quiet", "topic")
    (upstream / "added file").write_text("x")
    git(upstream, "add", ".")
    git(upstream, "commit", "--quiet", "--message", "more")
    commit = git(upstream, "rev-parse", "HEAD")

    WorkspaceStage(upstream.as_uri(), commit, gate="refs/heads/trunk", files=[FILE]).run(context)
    assert sorted(changed_paths(context.repository) or []) == ["added file", str(FILE)]

    WorkspaceStage(upstream.as_uri(), commit).run(context)
    assert changed_paths(context.repository) is None


def test_where_a_commit_left_what_gates_it(upstream: Path, context: StageContext) -> None:
    """What the gate has got since is not what the commit changes."""
    parted = git(upstream, "rev-parse", "trunk")
    commit = git(upstream, "rev-parse", "topic")
    for number in range(3):
        (upstream / "later").write_text(str(number))
        git(upstream, "add", ".")
        git(upstream, "commit", "--quiet", "--message", "later")

    WorkspaceStage(f"file://{upstream}", commit, gate="refs/heads/trunk").run(context)

    assert left_base_at(context.repository) == parted
    difference = difference_from(context.repository, parted)
    assert difference is not None
    assert "gate/quarantine.toml" in difference
    assert "later" not in difference
    assert git(context.repository, "rev-parse", "HEAD") == commit


def test_a_commit_that_never_left_what_gates_it(upstream: Path, context: StageContext) -> None:
    """Has no such place, and is fetched all the same."""
    git(upstream, "checkout", "--quiet", "--orphan", "other")
    git(upstream, "commit", "--quiet", "--message", "other", "--allow-empty")
    commit = git(upstream, "rev-parse", "HEAD")
    git(upstream, "checkout", "--quiet", "trunk")

    result = WorkspaceStage(f"file://{upstream}", commit, gate="refs/heads/trunk").run(context)

    assert result.outcome is Outcome.PASSED
    assert left_base_at(context.repository) == ""
