"""The head of a configured repository's branch, and whether a run has tested it."""

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.settings import Settings
from kvsync.ci.stages.stage import StageContext
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.verdicts import NotRun
from tasks.workspace import earlier_run_of, newest


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two repositories: one in a folder, and one on the server whose token we have."""
    for name in ("shop", "team/other"):
        folder = tmp_path / "server" / name
        folder.mkdir(parents=True)
        for words in (["init", "--quiet", "-b", "trunk"], ["commit", "--quiet", "--allow-empty", "-m", name]):
            argv = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.org", *words]
            subprocess.run(argv, check=True, timeout=30)
    server = f"file://{tmp_path}/server"
    shop: dict[str, Any] = {"url": str(tmp_path / "server" / "shop"), "branch": "trunk"}
    other: dict[str, Any] = {"url": f"{server}/team/other", "branch": "trunk"}
    given = {"github": {"web_url": server}, "repositories": {"shop": shop, "other": other}}
    return Settings.model_validate(given)


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    """A run that may begin."""
    (tmp_path / "run" / "logs").mkdir(parents=True)
    return StageContext(
        run_dir=tmp_path / "run",
        repository=tmp_path / "run" / "workspace",
        ledger=Ledger(tmp_path / "run" / "ledger.jsonl", run="r"),
        stop=threading.Event(),
    )


def test_each_repository_has_a_head_of_its_own(settings: Settings, context: StageContext) -> None:
    """Only one on GitHub is answered there."""
    shop, other = (newest(settings, name, context) for name in ("shop", "other"))

    assert shop.commit != other.commit
    assert (shop.ref, shop.repository, other.repository) == ("trunk", "", "team/other")
    assert shop.trusted


def test_what_is_not_there_is_said(settings: Settings, context: StageContext) -> None:
    """A name that is not configured, and a branch that the server does not have."""
    with pytest.raises(NotRun, match="there is no repository 'nope'"):
        newest(settings, "nope", context)
    gone = settings.repositories["shop"].model_copy(update={"branch": "gone"})
    with pytest.raises(NotRun, match=r"the head of gone of .*: there is no such branch"):
        newest(settings.model_copy(update={"repositories": {"shop": gone}}), "shop", context)


def test_a_commit_is_tested_once(settings: Settings, context: StageContext, tmp_path: Path) -> None:
    """A run of another repository, or of an earlier commit, does not count."""
    source = newest(settings, "shop", context)
    following = Parameters(follows="shop", trigger="push", report_dir=tmp_path / "reports")
    assert earlier_run_of(following, source.commit) == ""

    for run, follows, commit in (("1", "other", source.commit), ("2", "shop", "0" * 40)):
        found = source.model_copy(update={"commit": commit})
        earlier = following.model_copy(update={"run": run, "follows": follows, "source": found})
        earlier.run_dir.mkdir(parents=True)
        earlier.keep_in(RunFolder(earlier.run_dir))
    assert earlier_run_of(following, source.commit) == ""

    same = following.model_copy(update={"run": "3", "source": source})
    same.run_dir.mkdir()
    same.keep_in(RunFolder(same.run_dir))
    assert earlier_run_of(following, source.commit) == "3"
