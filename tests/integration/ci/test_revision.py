"""Which code a run tested, asked of git itself."""

import subprocess
from pathlib import Path

import pytest

from kvsync.ci.revision import Revision, repository_name, revision
from kvsync.ci.run_folder import RunFolder

GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit on the branch `main`."""
    (tmp_path / "file").write_text("committed")
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*GIT, *words], cwd=tmp_path, check=True, timeout=20)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [("reports [1]/run-1/log", False), ("reports 1/log", True), ("file", True), ("tests/test_new.py", True)],
    ids=["report", "beside the reports", "changed", "new"],
)
def test_what_makes_files_differ_from_their_commit(repository: Path, changed: str, dirty: bool) -> None:
    """Whatever is changed or new does, but for the reports of runs."""
    before = revision(repository, reports=repository / "reports [1]")
    (repository / changed).parent.mkdir(parents=True, exist_ok=True)
    (repository / changed).write_text("changed")

    after = revision(repository, reports=repository / "reports [1]")

    assert (len(before.commit), before.dirty, before.branch) == (40, False, "main")
    assert after == Revision(before.commit, dirty=dirty, branch="main")


@pytest.mark.parametrize("reports", [".", ".."], ids=["the repository", "around it"])
def test_reports_that_are_not_a_folder_of_the_repository(repository: Path, reports: str) -> None:
    """Nothing is left out then."""
    (repository / "new").touch()

    assert revision(repository, reports=(repository / reports).resolve()).dirty


def test_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    """Its revision is not known; temporary folders may lie in one that is."""
    assert revision(Path("/"), reports=tmp_path) == Revision()


def test_a_run_keeps_its_revision(tmp_path: Path) -> None:
    """It is read as it was kept; one that was torn by a loss of power is not known."""
    folder = RunFolder(tmp_path / "run-1")
    kept = Revision("a" * 40, dirty=True, branch="main")

    folder.keep_revision(kept)

    assert folder.revision == kept
    (tmp_path / "run-1" / "revision.json").write_text("")
    assert folder.revision is None


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("https://github.com/me/gw.git", "me/gw"),
        ("https://someone:secret@GitHub.com/me/gw/", "me/gw"),
        ("git@github.com:me/gw.git", "me/gw"),
        ("ssh://git@github.com:22/me/gw", "me/gw"),
        ("https://elsewhere.org/me/gw", "elsewhere.org/me/gw"),
        ("git@elsewhere:me/gw.git", "elsewhere/me/gw"),
        ("/nowhere/gw", "/nowhere/gw"),
    ],
)
def test_each_repository_has_one_name(where: str, name: str) -> None:
    """However it is fetched; those of another server are told apart, and no password is in it."""
    assert repository_name(where, "https://github.com") == name


def test_a_folder_is_named_by_its_origin(tmp_path: Path) -> None:
    """A checkout is its origin's, and a folder in it, or without an origin, is itself only."""
    inner = tmp_path / "inner"
    inner.mkdir()
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    assert repository_name(str(tmp_path), "https://github.com") == str(tmp_path)
    subprocess.run([*git, "remote", "add", "origin", "git@github.com:me/gw.git"], check=True)

    assert repository_name(str(tmp_path), "https://github.com") == "me/gw"
    assert repository_name(f"file://{tmp_path}", "https://github.com") == "me/gw"
    assert repository_name(str(inner), "https://github.com") == str(inner)
