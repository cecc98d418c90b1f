"""Outlives the process of a flow and sees to the end of its run: a true state, a report, nothing left behind.

`python -m tasks.guardian RUN_DIR FLOW_RUN PID CREATE_TIME HOME`, started by the flow itself at its beginning.
HOME, which is Prefect's, is for those who look for the runs of a server: see deployments.service.presence.

- It shares nothing with the flow: its session is its own, it holds no pipe (a worker would wait for it to be
  closed), and it does not bear the mark of the run, so that no cleanup ends it.
- It imports what settles a run only when it has to: most end by themselves, and it takes 0.7 s of CPU time.
- A run that ends by itself is left alone. So are its leftovers and its report while the command that started
  the run is alive, which sees to them; only the flow run's state is then ours.
- What Prefect was seen to leave open: a killed worker leaves its runs RUNNING, and a run without a worker
  stays CANCELLING. No one waits for the run of a command that was killed.
"""

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import psutil

from kvsync.ci.cleaning.launcher import is_running
from kvsync.ci.concealment import concealed, sealed
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.environment import secrets_apart
from kvsync.testing.processes.ledger import RUN_VARIABLE
from kvsync.testing.processes.living import facts_of, lives

if TYPE_CHECKING:
    from kvsync.ci.handover.roads import Road
    from kvsync.ci.run.run import Installation

WATCH_S = 5.0
"""How often Prefect is asked while the flow lives."""

IGNORED_S = 20.0
"""A worker acts upon a cancellation within seconds, and most runs end soon after."""

IGNORED = f"it had not ended {IGNORED_S:.0f} s after its cancellation"
"""There is no worker, or the run takes long to end; which of the two is not known."""

GRACE_S = 20.0
"""How long a flow that was asked to end may take to stop its stage, clean up and write its report."""

ANSWER_S = 30.0
"""How long a busy server may take to answer."""

LONGEST_WAIT_S = 30.0
GIVE_UP_S = 600.0
"""If Prefect's API is away for this long after the flow's end, its state is left to others."""

FLOW_RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
"""Marks the processes of a flow run."""

Belief = Literal["open", "cancelling", "cancelled", "final", "away"]
"""What Prefect believes about the flow run. It is also `final` if there is no one to tell or nothing to
mend: no API, a flow run that was deleted, one that is to be started again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What can be seen of a run: `command` is alive if what started it is, and may be the flow itself.

    `settled`: its report is there, and has been handed over. `believed_s`, `dead_s`: how long Prefect
    has been believing what it does, and how long ago the flow's process ended.
    """

    flow: bool
    command: bool
    settled: bool
    believed: Belief
    believed_s: float = 0.0
    dead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after some time, or when the flow's process ends."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """End the flow's process, because of `why`."""

    why: str


@dataclass(frozen=True, slots=True)
class Settle:
    """Clean up and write the report."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell Prefect how the flow run ended."""

    state: Literal["CANCELLED", "CRASHED"]


@dataclass(frozen=True, slots=True)
class Leave:
    """There is nothing more to do."""

    why: str = ""


def decide(sight: Sight) -> Wait | Stop | Settle | Tell | Leave:
    """Say what to do next. Pure."""
    match sight:
        case (
            Sight(flow=True, settled=True, believed="final")
            | Sight(flow=False, settled=True, believed="final" | "cancelled")
        ):
            return Leave()
        case Sight(flow=True, command=False):
            return Stop("the command that started the run is gone")
        case Sight(flow=True, believed="cancelling" | "cancelled", believed_s=for_s) if for_s > IGNORED_S:
            return Stop(IGNORED)
        case Sight(flow=True):
            return Wait(WATCH_S)
        case Sight(settled=False, command=True):
            return Wait(1.0)
        case Sight(settled=False):
            return Settle()
        case Sight(dead_s=dead_s) if dead_s > GIVE_UP_S:
            return Leave(f"gave up after {dead_s:.0f} s: Prefect does not know that the run has ended")
        case Sight(believed="away", dead_s=dead_s):
            return Wait(min(1.0 + dead_s / 4, LONGEST_WAIT_S))
        case Sight(believed="cancelling"):
            return Tell("CANCELLED")
    return Tell("CRASHED")


@dataclass(slots=True)
class Guardian:
    """The eyes and hands of `decide` for one run."""

    folder: RunFolder
    flow_run: UUID
    pid: int
    born: float
    installation: Callable[[], "Installation"]
    grace_s: float = GRACE_S
    why: str = "the run's process ended before the run did"
    stopped: bool = False
    settled: bool = False
    believed: Belief = "away"
    believed_since: float = field(default_factory=time.monotonic)
    died_at: float | None = None

    def guard(self) -> None:
        """See the run to its end."""
        while True:
            match decide(self.look()):
                case Wait(seconds):
                    self._rest(seconds)
                case Stop(why):
                    self.stop(why)
                case Settle():
                    self.settle()
                case Tell(state):
                    self.tell(state)
                    self._rest(1.0)
                case Leave(why):
                    return _say(why) if why else None

    def look(self) -> Sight:
        """See how things are."""
        believed = ask(self.flow_run)
        # In this order: a flow that is its own command may die in between, and was then not left by it.
        command = is_running(self.folder.ledger)
        flow, now = lives(self.pid, self.born), time.monotonic()
        if not flow and self.died_at is None:
            self.died_at = now
        if believed != self.believed:
            self.believed, self.believed_since = believed, now
        return Sight(
            flow=flow,
            command=command,
            settled=self.settled or (self.folder.told.exists() and not self.stopped),
            believed=believed,
            believed_s=now - self.believed_since,
            dead_s=now - (self.died_at or now),
        )

    def stop(self, why: str) -> None:
        """End the flow: politely, so that it may write its report, and after its grace for certain."""
        self.why, self.stopped = why, True
        _say(f"{why}: process {self.pid} is asked to end")
        self._signal(signal.SIGTERM)
        self._rest(self.grace_s)
        self._signal(signal.SIGKILL)
        self._rest(self.grace_s)

    def settle(self) -> None:
        """Clean up and judge; a failure is reported, for the run has to end in any case."""
        from kvsync.ci.handover.settlement import remove_leftovers, settle
        from kvsync.ci.run.parameters import Parameters
        from kvsync.ci.run.run import Run

        by_somebody = self.believed in ("cancelling", "cancelled")
        if by_somebody:
            self.why = f"cancelled: {self.why}"
        self.settled = True
        try:
            parameters = Parameters.of(self.folder)
            broken = "; ".join([self.why, *remove_leftovers(parameters)])
            road: Road = "quiet" if by_somebody else "full"
            _say(settle(Run(parameters, self.installation()), broken, road).verdict_line())
        except Exception as exc:
            traceback.print_exc()
            self.why += f"; it could not be cleaned up or judged: {type(exc).__name__}: {exc}"

    def tell(self, state: Literal["CANCELLED", "CRASHED"]) -> None:
        """Set the state of the flow run; whether that worked is seen at the next look."""
        import httpx
        from prefect.client.orchestration import get_client
        from prefect.states import Cancelled, Crashed

        made = {"CANCELLED": Cancelled, "CRASHED": Crashed}[state]
        _say(f"{state}: {self.why}")
        with suppress(httpx.HTTPError), get_client(sync_client=True) as client:
            client.set_flow_run_state(self.flow_run, made(message=self.why))

    def _signal(self, number: signal.Signals) -> None:
        with suppress(psutil.NoSuchProcess):
            if lives(self.pid, self.born):
                psutil.Process(self.pid).send_signal(number)

    def _rest(self, seconds: float) -> None:
        """Sleep; the death of the flow ends that, if it was not known before."""
        if lives(self.pid, self.born):
            with suppress(psutil.Error):
                psutil.Process(self.pid).wait(seconds)
        elif self.died_at is not None:
            time.sleep(seconds)


def ask(flow_run: UUID) -> Belief:
    """Return what Prefect believes about a flow run."""
    url = os.environ.get("PREFECT_API_URL")
    return (_asked_plainly(url, flow_run) or _asked_by_client(flow_run)) if url else "final"


def _asked_plainly(url: str, flow_run: UUID) -> Belief | None:
    """Ask without Prefect's client, whose import costs more CPU than all else that a guardian does.

    None where that is not enough: the server is away, or it wants more than the password of `serve`.
    """
    import httpx

    user, known, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    auth = (user, password) if known else None
    try:
        answer = httpx.get(f"{url}/flow_runs/{flow_run}", auth=auth, timeout=ANSWER_S)
        return _belief(answer.raise_for_status().json()["state_type"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError):
        return None


def _asked_by_client(flow_run: UUID) -> Belief:
    # Imported only where there is an API: it costs 2 s of CPU, far more than the rest of a guardian.
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    try:
        with get_client(sync_client=True) as client:
            return _belief(client.read_flow_run(flow_run).state_type)
    except ObjectNotFound:
        return "final"
    except httpx.HTTPError:
        return "away"


def _belief(state: str | None) -> Belief:
    """Say what the type of a state means for us."""
    match state:
        case "CANCELLING":
            return "cancelling"
        case "CANCELLED":
            return "cancelled"
        case "RUNNING" | "PENDING" | None:
            return "open"
    return "final"


def post_guardian(folder: RunFolder, flow_run: UUID, environ: Mapping[str, str]) -> None:
    """Start the guardian of the run that this process carries out in `environ`."""
    from kvsync.ci.run.parameters import REPOSITORY

    words = [str(folder.path), str(flow_run), *map(str, facts_of(os.getpid()).values())]
    words.append(environ.get("PREFECT_HOME", ""))
    known, secret = secrets_apart({name: value for name, value in environ.items() if name != RUN_VARIABLE})
    with (folder.logs / "guardian.log").open("ab") as log, sealed(secret) as handed:
        subprocess.Popen(
            concealed(handed, "tasks.guardian", *words),
            pass_fds=[handed],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=REPOSITORY,
            env=known | {FLOW_RUN_VARIABLE: str(flow_run)},
        )


def installed_here() -> "Installation":
    """Return how the pipeline is set up where this process runs."""
    from kvsync.ci.run.run import Installation

    return Installation.of(os.environ)


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


if __name__ == "__main__":
    run_dir, flow_run, pid, born, _ = sys.argv[1:]
    Guardian(RunFolder(Path(run_dir)), UUID(flow_run), int(pid), float(born), installed_here).guard()
