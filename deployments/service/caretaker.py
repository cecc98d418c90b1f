"""Gives runs whose processes are gone a true end: `python -m deployments.service.caretaker`, part of serve.

Each run sees to its own end; this is for those that had no chance to: the machine went down, or everything
was killed. Every 15 s it compares the flow runs that Prefect believes to be running with the processes here.
Only runs that this machine's worker took are looked at; others may be alive elsewhere. What GitHub did not
take of runs that ended within a day is sent again.

At its end, which is that of serve, it ends the flows politely, while there still is a server to tell. That a
worker died is not a reason to: its runs go on, and another worker takes the next ones.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
import typer
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Scheduled
from pydantic import ValidationError

from deployments.catalogue import FLOW
from deployments.service.mending import PATIENCE_S, Mend, Sighting, decide
from deployments.service.presence import engines, living, worker_name
from deployments.service.staleness import StaleWatch
from kvsync.ci.cleaning.launcher import is_running
from kvsync.ci.handover.settlement import remove_leftovers, settle
from kvsync.ci.interruption import stop_on_signal
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.run import Installation, Run
from kvsync.ci.run_folder import RunFolder
from kvsync.testing.processes.living import end
from tasks.identity import parameters_of

if TYPE_CHECKING:
    from kvsync.ci.handover.roads import Road

EVERY_S = 15.0

GRACE_S = 20.0
"""For a flow to stop its stage, clean up and write its report, before it is killed."""

SEND_AGAIN_S = 300.0
"""How often GitHub is told again of a run; its own guardian needs less to do that first."""

DAY_S = 24 * 3600.0
"""How long after the end of a run."""

WORKER = "prefect.worker.name"
"""The label by which a flow run says who took it."""

GONE = "its process is gone; what is known is in its report"

STATES: dict[Mend, Callable[[], State[object]]] = {
    "crash": lambda: Crashed(message=GONE),
    "cancel": lambda: Cancelled(message=GONE),
    "reschedule": Scheduled,
}


@dataclass(slots=True, kw_only=True)
class Caretaker:
    """Looks round after round; what was missing in a round before is remembered."""

    report_dir: Path
    home: str
    installation: Installation
    patience_s: float
    clock: Callable[[], float] = time.monotonic
    missing: dict[object, float] = field(default_factory=dict)
    tried: dict[Path, float] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)

    def look(self, client: SyncPrefectClient) -> None:
        """Mend what needs it. Raises httpx.HTTPError when the server does not answer."""
        open_runs = _open_runs(client)
        driven = living(self.home)
        at_work = {each.run_dir for run in open_runs if run.id in driven and (each := _parameters(run))}
        folders = [path for path in _unjudged(self.report_dir) if path not in at_work]
        missing = self._missing_s([*(run.id for run in open_runs if run.id not in driven), *folders])
        for path in folders:
            if missing[path] >= self.patience_s and not self._end_run(path):
                self.missing[path] = self.clock()
        for run in open_runs:
            if run.id in missing:
                self._mend(client, run, missing[run.id])

    def send_again(self) -> None:
        """Send to GitHub what it did not take of one run: that for which it was tried longest ago."""
        now = self.clock()
        due = {
            path: self.tried.get(path, now - SEND_AGAIN_S) for path in _untold(self.report_dir, time.time())
        }
        path = min(due, key=lambda path: due[path], default=None)
        if path and now - due[path] >= SEND_AGAIN_S:
            self.tried[path] = now
            self._end_run(path, "again")

    def _end_run(self, path: Path, road: "Road" = "full") -> bool:
        """Make an end of a run; if none can be made of a folder, the others still get theirs."""
        try:
            verdict, problem = end_run(RunFolder(path), self.installation, road), ""
        except Exception as exc:
            verdict, problem = "", f"no end could be made of it: {exc!r}"
        line = f"{path.name}: {verdict or problem}"
        if line not in self.said:
            self.said.add(line)
            print(line, flush=True)
        return not problem

    def _missing_s(self, now_missing: Iterable[UUID | Path]) -> dict[object, float]:
        now = self.clock()
        self.missing = {each: self.missing.get(each, now) for each in now_missing}
        return {each: now - since for each, since in self.missing.items()}

    def _mend(self, client: SyncPrefectClient, run: FlowRun, missing_s: float) -> None:
        sighting = Sighting(
            state=str(run.state_type and run.state_type.value),
            worker=str(run.labels.get(WORKER, "")),
            started=run.start_time is not None,
            missing_s=missing_s,
        )
        mend = decide(sighting, worker=worker_name(self.report_dir), patience_s=self.patience_s)
        if mend:
            with suppress(ObjectNotFound):  # someone deleted it meanwhile
                client.set_flow_run_state(run.id, STATES[mend](), force=True)
            print(
                f"{mend}: flow run {run.id} ({run.name}) was {run.state_name} without a process", flush=True
            )


def end_run(folder: RunFolder, here: Installation, road: "Road") -> str:
    """Remove what a dead run left, write its report and hand it over; returns the verdict."""
    parameters = Parameters.of(folder)
    broken = "; ".join(["the run's process is gone", *remove_leftovers(parameters)])
    return settle(Run(parameters, here), broken, road).verdict_line()


def _open_runs(client: SyncPrefectClient) -> list[FlowRun]:
    states = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    runs = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))),
    )
    return [run for run in runs if run.deployment_id]


def _parameters(run: FlowRun) -> Parameters | None:
    try:
        return parameters_of(run)
    except ValidationError:
        return None


def _unjudged(report_dir: Path) -> list[Path]:
    """Return the folders of runs without a report that no command line sees to."""
    folders = [RunFolder(path.parent) for path in report_dir.glob("*/parameters.json")]
    return [each.path for each in folders if not each.report.exists() and not is_running(each.ledger)]


def _untold(report_dir: Path, now: float) -> list[Path]:
    """Return the folders of runs that ended within a day, and of which GitHub could not be told then."""
    folders = [RunFolder(path.parent) for path in report_dir.glob("*/report.json")]
    return [
        each.path
        for each in folders
        if not each.told.exists()
        and SEND_AGAIN_S < now - each.report.stat().st_mtime < DAY_S
        and not is_running(each.ledger)
    ]


def main(report_dir: Path, home: str, *, final: bool = False) -> None:
    """Look every 15 s until SIGTERM, and then end the runs; with --final look once, and without patience."""
    here = Installation.of(os.environ)
    patience_s = 0 if final else PATIENCE_S
    caretaker = Caretaker(report_dir=report_dir, home=home, installation=here, patience_s=patience_s)
    with get_client(sync_client=True) as client:
        if final:
            return caretaker.look(client)
        watch = StaleWatch(settings=here.settings, report_dir=report_dir)
        with stop_on_signal() as stop:
            while not stop.is_set():
                try:
                    caretaker.look(client)
                except httpx.HTTPError as exc:
                    print(f"the Prefect server does not answer: {exc!r}", file=sys.stderr, flush=True)
                caretaker.send_again()
                if said := watch.look():
                    print(said, flush=True)
                stop.wait(EVERY_S)
    return end(engines(home), grace_s=GRACE_S)


if __name__ == "__main__":
    typer.run(main)
