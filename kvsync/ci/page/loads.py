"""What the report shows of load stages: read from their folders of evidence."""

import json
from collections.abc import Sequence
from pathlib import Path

from kvsync.ci.run_folder import UNREADABLE
from kvsync.testing.load.http.summary import FILE, LoadSummary

MOST_ROWS = 200
"""Rows of a stage that are shown; its file has all of them."""


def loads_of(run_dir: Path) -> Sequence[tuple[str, LoadSummary]]:
    """Return the summary of each load of a run, with its folder; one that cannot be read is left out."""
    found = []
    for path in sorted((run_dir / "evidence").glob(f"*/{FILE}")):
        try:
            summary = LoadSummary.from_json(json.loads(path.read_text(encoding="utf-8")))
        except UNREADABLE:
            continue
        found.append((path.parent.relative_to(run_dir).as_posix(), summary))
    return found
