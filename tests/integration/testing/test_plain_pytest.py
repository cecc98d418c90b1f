"""Tests of the kit under plain pytest, without a pipeline that judges: nothing undecided looks harmless."""

import subprocess
import sys
from pathlib import Path

TESTS = """
from kvsync.testing import Inconclusive, NotRun, Void

def test_void(): raise Void("the fault had no effect")
def test_not_run(): raise NotRun("there is no docker")
def test_inconclusive(): raise Inconclusive("too few samples")
"""


def run(folder: Path, *words: str) -> tuple[int, str]:
    """Run the tests; returns pytest's exit status and what it printed."""
    (folder / "test_it.py").write_text(TESTS)
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "kvsync.testing.pytest_plugin",
        "test_it.py",
        *words,
    ]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout


def test_a_void_fails_and_what_is_undecided_is_named(tmp_path: Path) -> None:
    """A test that did not test proves nothing, and a skip would be taken for one that need not run."""
    status, said = run(tmp_path)

    assert status == 1
    assert "FAILED test_it.py::test_void - void: the fault had no effect" in said
    assert "test_it.py::test_not_run: not run: there is no docker" in said
    assert "test_it.py::test_inconclusive: inconclusive: too few samples" in said
    assert "1 failed, 2 skipped" in said


def test_a_run_judges_itself(tmp_path: Path) -> None:
    """There it has a kind of its own, and pytest's exit status is not the verdict."""
    status, said = run(tmp_path, f"--run-dir={tmp_path / 'run'}")

    assert (status, "3 skipped" in said, "undecided:" in said) == (0, True, False)
