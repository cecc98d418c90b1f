"""A stage's journal: one JSON line whenever a test starts or ends, for those who follow the run."""

from pathlib import Path


def journal(run_dir: Path, stage: str) -> Path:
    """Return where the lines of a stage's tests lie."""
    return run_dir / "history" / f"{stage}-tests.jsonl"
