"""What real tools wrote (see recorded/README.md)."""

from pathlib import Path

FOLDER = Path(__file__).parent / "recorded"


def recorded(name: str) -> str:
    """Return a recording."""
    return (FOLDER / name).read_text(encoding="utf-8")
