"""Files of the tested repository that a run keeps before anything in it runs, to be judged by them later.

The repository of a commit is gone when its run is judged.
"""

import shutil
from pathlib import Path

from kvsync.ci.report.owners import LARGEST, PLACES, CodeOwners

CODEOWNERS = "CODEOWNERS"
"""Where a run keeps who owns what, in its folder."""


def keep_file(repository: Path, file: Path | str, run_dir: Path, name: str) -> bool:
    """Copy a file into the folder of a run; say if there is one. A link that leads out is not followed."""
    source = (repository / file).resolve()
    (run_dir / name).unlink(missing_ok=True)
    is_there = source.is_file() and source.is_relative_to(repository.resolve())
    if is_there:
        shutil.copyfile(source, run_dir / name)
    return is_there


def keep_owners(repository: Path, run_dir: Path) -> None:
    """Copy the CODEOWNERS file of a repository into the folder of a run, the first one that there is."""
    any(keep_file(repository, place, run_dir, CODEOWNERS) for place in PLACES)


def load_owners(run_dir: Path) -> CodeOwners:
    """Read what `keep_owners` kept: nothing, where there was none or GitHub would not load it.

    Who owns a test decides nothing, so a file that cannot be read only leaves the owners out.
    """
    file = run_dir / CODEOWNERS
    try:
        is_read = file.stat().st_size <= LARGEST
        return CodeOwners.parse(file.read_text(encoding="utf-8", errors="replace") if is_read else "")
    except OSError:
        return CodeOwners()
