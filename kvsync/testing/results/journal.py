"""A stage's journal: one JSON line whenever a test starts or ends, for displays that follow the run."""

from pathlib import Path

FROM_OUTSIDE = (2, -2, -9, -15)
"""Exit codes that blame no test: interrupted, SIGINT, SIGKILL (also sent when memory is short), SIGTERM."""


def journal(run_dir: Path, stage: str) -> Path:
    """Return where the lines of a stage's tests lie."""
    return run_dir / "history" / f"{stage}-tests.jsonl"
