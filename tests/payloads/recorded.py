"""Deliveries of GitHub, in the shapes that its documentation gives."""

import json
from pathlib import Path
from typing import Any

PAYLOADS = Path(__file__).parent


def payload(name: str, **changes: object) -> dict[str, Any]:
    """A recorded payload; changes are named by path: `comment__body`."""
    document: dict[str, Any] = json.loads((PAYLOADS / f"{name}.json").read_text())
    for path, value in changes.items():
        *folders, last = path.split("__")
        place = document
        for folder in folders:
            place = place[folder]
        place[last] = value
    return document
