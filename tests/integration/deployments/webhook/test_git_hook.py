"""The hook of git's that the documents show, in a bare repository."""

import os
import re
import subprocess
from pathlib import Path

from kvsync.ci.run.parameters import REPOSITORY
from kvsync.testing.processes.wait import wait_for

PAGE = REPOSITORY / "docs" / "any-system.md"

RECORDER = """\
#!/bin/sh
echo "$@" "GIT_DIR=${GIT_DIR-}" >> %s
"""
"""In place of kvsync-ci: a run takes longer than this test is worth."""


def git(folder: Path, *words: str, path: str = "") -> str:
    """Run git; returns what it printed."""
    argv = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org", *words]
    env = {**os.environ, **({"PATH": f"{path}{os.pathsep}{os.environ['PATH']}"} if path else {})}
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30, env=env)
    return done.stdout.strip()


def test_what_is_pushed_to_the_branch_is_tested(tmp_path: Path) -> None:
    """Not other branches, nor one that is deleted; git's own variables do not reach the run."""
    bare, work, bin_folder, said = (tmp_path / name for name in ("shop.git", "work", "bin", "said"))
    found = re.search(r"`hooks/post-receive`.*?```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    for folder in (work, bin_folder):
        folder.mkdir()
    git(tmp_path, "init", "--quiet", "--bare", str(bare))
    programs = {
        bare / "hooks" / "post-receive": found[1].replace("/srv/reports", str(tmp_path)),
        bin_folder / "kvsync-ci": RECORDER % said,
    }
    for path, text in programs.items():
        path.write_text(text)
        path.chmod(0o755)
    git(work, "init", "--quiet", "--initial-branch", "main")
    git(work, "commit", "--quiet", "--allow-empty", "--message", "one")
    commit = git(work, "rev-parse", "HEAD")
    pushes = (["main:other"], [":other"], ["main"])
    for refs in pushes:
        git(work, "push", "--quiet", str(bare), *refs, path=str(bin_folder))

    wait_for(lambda: said.exists() and said.read_text().endswith("\n"), what="the run", timeout_s=20)
    assert said.read_text() == f"run --source {bare}@{commit} --report-dir {tmp_path} GIT_DIR=\n"
