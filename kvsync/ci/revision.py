"""Which code a run tested."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

GIT_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit, and whether the files differed from it. Without git or a repository, `commit` is "".

    `branch` is "" too where none is checked out.
    """

    commit: str = ""
    dirty: bool = False
    branch: str = ""


def revision(repository: Path, *, reports: Path) -> Revision:
    """Ask git; a folder that is not a checkout is not an error: its revision is just not known.

    What runs leave in `reports` changes no code. Both paths are absolute.
    """
    apart = ["--", f":(exclude,literal){reports}"] if repository in reports.parents else []
    try:
        commit = _git(repository, "rev-parse", "HEAD")
        dirty = bool(_git(repository, "status", "--porcelain", *apart))
        return Revision(commit, dirty, _git(repository, "branch", "--show-current"))
    except (OSError, subprocess.SubprocessError):
        return Revision()


def _git(repository: Path, *words: str) -> str:
    argv = ["git", "-C", str(repository), *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT_S)
    return done.stdout.strip()
