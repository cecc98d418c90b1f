"""Small projects that tests have the pipeline test."""

from pathlib import Path

LIGHT = "[pytest]\naddopts = -p no:anyio -p no:asyncio -p no:hypothesispytest\n"
"""Settings of pytest without plugins that no small project uses: half of what it costs to start pytest."""


def make_project(folder: Path, *settings: str) -> Path:
    """Make the folder of a project without tests, with lines of settings of pytest; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pytest.ini").write_text("\n".join([LIGHT.strip(), *settings, ""]))
    return folder
