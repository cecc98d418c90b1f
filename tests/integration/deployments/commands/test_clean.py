"""`kvsync-ci clean`, where nothing was run."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Clean = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def clean(tmp_path: Path) -> Clean:
    """Clean what is in a folder for temporary files; gives the exit status and what was said."""

    def run(*words: str) -> tuple[int, list[str]]:
        done = subprocess.run(
            [sys.executable, "-m", "deployments", "clean", "--report-dir", str(tmp_path / "reports"), *words],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout.splitlines()

    return run


def test_the_folder_of_a_killed_comparison_goes(tmp_path: Path, clean: Clean) -> None:
    """It need not wait for the next one; `--check` names it."""
    (folder := tmp_path / "kvsync-ab-x").mkdir()
    (folder / "lock").touch()
    os.utime(folder, (0, 0))

    looked = clean("--check")
    was_there = folder.exists()
    removed = clean()

    assert looked == (1, [f"kvsync-ci ab: path {folder}", "1 left behind"])
    assert removed == (0, [f"kvsync-ci ab: path {folder}", "1 removed"])
    assert (was_there, folder.exists()) == (True, False)
    assert clean("--check") == (0, ["nothing is left behind"])
