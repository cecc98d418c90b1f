"""How a flow run ends that Prefect believes to be running, though nothing drives it."""

from dataclasses import dataclass
from typing import Literal

PATIENCE_S = 60.0
"""How long a run may be without a process: it may just have been taken, or another mends it already."""

Mend = Literal["crash", "cancel", "reschedule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A flow run in the state PENDING, RUNNING or CANCELLING.

    `worker`: the name of the one that took it, "" if none is named. `started`: whether its flow ever began.
    `missing_s`: how long no process here has been driving it.
    """

    state: str
    worker: str
    started: bool
    missing_s: float


def decide(sighting: Sighting, *, worker: str, patience_s: float = PATIENCE_S) -> Mend | None:
    """Say how the run should end, None when it should be left alone: `worker` is the one of this machine.

    What a person cancelled is cancelled. What never began should start again: it was accepted, and nothing of
    it has happened yet. A pending run without a worker's name was lost on the way to one.
    """
    is_ours = sighting.worker == worker or (sighting.worker == "" and sighting.state == "PENDING")
    if not is_ours or sighting.missing_s < patience_s:
        return None
    match sighting.state:
        case "CANCELLING":
            return "cancel"
        case "PENDING" if not sighting.started:
            return "reschedule"
        case _:
            return "crash"
