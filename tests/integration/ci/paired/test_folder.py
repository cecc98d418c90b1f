"""What a comparison leaves behind that was killed, and who removes it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvsync.ci.paired.folder import own_folder

HOLDS = """
import sys, time
from pathlib import Path
from kvsync.ci.paired.folder import own_folder
with own_folder(Path(sys.argv[1])) as folder:
    (folder / "version").mkdir()
    print(folder, flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(parent: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """Another process with a folder that it made an hour ago."""
    argv = [sys.executable, "-c", HOLDS, str(parent)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            folder = Path(process.stdout.readline().strip())
            os.utime(folder, (0, 0))
            yield folder, process
        finally:
            process.kill()


def test_what_a_killed_comparison_left_goes_with_the_next(tmp_path: Path) -> None:
    """And what one uses that is still going on stays."""
    with holder(tmp_path) as (living, _), holder(tmp_path) as (dead, killed):
        killed.kill()
        killed.wait(timeout=10)
        with own_folder(tmp_path) as own:
            assert sorted(tmp_path.iterdir()) == sorted([living, own])
        assert not dead.exists()
        assert list(tmp_path.iterdir()) == [living]


def test_a_folder_that_is_just_made_stays(tmp_path: Path) -> None:
    """It has no lock yet; one of somebody else has none at all."""
    for name in ("kvsync-ab-new", "kvsync-ab-old", "another"):
        (tmp_path / name).mkdir()
    (tmp_path / "kvsync-ab-new" / "lock").touch()
    os.utime(tmp_path / "kvsync-ab-old", (0, 0))

    with own_folder(tmp_path):
        pass

    assert len(list(tmp_path.iterdir())) == 3
