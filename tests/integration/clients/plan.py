"""What every client does: it plays each scenario of a folder at each server, and prints what it got.

python with_CLIENT.py FOLDER URL...

The folder has `plan.tsv`, a line for each scenario: its name, its path and its act. `NUMBER.json` is its
body. For each server and scenario a line of JSON comes out: server, scenario, status (0: no answer), and the
body as text, or what a client made of it as a list of events. Uses the standard library only: the clients
live in an environment of their own.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READ, SLOWLY, LEAVE, GIVE_UP, AGAIN = "read", "read slowly", "leave", "give up", "ask again"
"""Acts: read all of the answer; with pauses; hang up after its first part; hang up before it; ask for it
again by its id, if the client has a method for that."""

PAUSES, PAUSE_S = 5, 0.05
"""How often, and for how long, a slow reader waits."""

PATIENCE_S, TIMEOUT_S = 0.3, 60.0
"""After this a client gives up, or takes the server for dead."""

Got = dict[str, Any]
"""`status`, and `body` or `events`."""


@dataclass(frozen=True, slots=True)
class Step:
    """One scenario as a client plays it."""

    name: str
    path: str
    act: str
    body: bytes

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the body."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def timeout_s(self) -> float:
        """How long to wait for something to come."""
        return PATIENCE_S if self.act == GIVE_UP else TIMEOUT_S


def steps(folder: Path) -> list[Step]:
    """Read a plan."""
    lines = (folder / "plan.tsv").read_text("utf-8").splitlines()
    found = []
    for number, line in enumerate(lines):
        name, path, act = line.split("\t")
        found.append(Step(name, path, act, (folder / f"{number}.json").read_bytes()))
    return found


def pause(step: Step, parts: int) -> None:
    """Wait before another part is read, if the reader is slow."""
    if step.act == SLOWLY and parts <= PAUSES:
        time.sleep(PAUSE_S)


def main(play: Callable[[str, Step], Got], plays: Callable[[Step], bool] = lambda _: True) -> None:
    """Play all steps that a client `plays` at all servers."""
    folder, urls = Path(sys.argv[1]), sys.argv[2:]
    for url in urls:
        for step in filter(plays, steps(folder)):
            print(json.dumps({"server": url, "scenario": step.name, **play(url, step)}), flush=True)
