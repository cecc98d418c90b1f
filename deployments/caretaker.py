"""Gives runs whose processes are gone a true end: `python -m deployments.caretaker`, started by serve.

Each run sees to its own end; this is for those that had no chance to: the machine went down, everything was
killed. Every 15 s it compares the flow runs that Prefect believes to be going on with the processes here.
Only runs that this machine's worker took are looked at; others may be alive elsewhere.

At its end, which is that of serve, it ends the flows politely, while there still is a server to tell. That a
worker died is no reason to: its runs go on, and another worker takes the next ones.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
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
from deployments.mending import PATIENCE_S, Mend, Sighting, decide
from deployments.presence import engines, living, worker_name
from deployments.staleness import StaleWatch
from kvsync.errors import KVSyncError
from kvsync.testing.interruption import stop_on_signal
from kvsync.testing.ledger import end
from kvsync.testing.residue import is_running
from kvsync.testing.run_folder import RunFolder
from kvsync.testing.settings import load_settings
from tasks.identity import parameters_of
from tasks.parameters import REPOSITORY, Parameters
from tasks.settlement import empty_floor, last_word

EVERY_S = 15.0

GRACE_S = 20.0
"""For a flow to stop its stage, clean up and write its report, before it is killed."""

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
    patience_s: float
    clock: Callable[[], float] = time.monotonic
    missing: dict[object, float] = field(default_factory=dict)

    def look(self, client: SyncPrefectClient) -> None:
        """Mend what needs it. Raises httpx.HTTPError when the server does not answer."""
        open_runs = _open_runs(client)
        driven = living(self.home)
        at_work = {each.run_dir for run in open_runs if run.id in driven and (each := _parameters(run))}
        folders = [path for path in _unjudged(self.report_dir) if path not in at_work]
        missing = self._missing_s([*(run.id for run in open_runs if run.id not in driven), *folders])
        for path in folders:
            if missing[path] >= self.patience_s and not end_run(path):
                self.missing[path] = self.clock()
        for run in open_runs:
            if run.id in missing:
                self._mend(client, run, missing[run.id])

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


def end_run(path: Path) -> bool:
    """Remove what a dead run left, and write its report; False when that failed, which is said."""
    try:
        parameters = Parameters.model_validate_json(RunFolder(path).parameters.read_text())
        broken = "; ".join(["the run's process is gone", *empty_floor(parameters)])
        print(f"{path.name}: {last_word(parameters, broken).verdict_line()}", flush=True)
    except (KVSyncError, OSError, ValueError) as exc:
        print(f"{path.name}: no end could be made of it: {exc!r}", flush=True)
        return False
    return True


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


def main(report_dir: Path, home: str, *, final: bool = False) -> None:
    """Look every 15 s until SIGTERM, and then end the runs; with --final look once, and without patience."""
    caretaker = Caretaker(report_dir=report_dir, home=home, patience_s=0 if final else PATIENCE_S)
    with get_client(sync_client=True) as client:
        if final:
            return caretaker.look(client)
        watch = StaleWatch(settings=load_settings(REPOSITORY, os.environ), report_dir=report_dir)
        with stop_on_signal() as stop:
            while not stop.is_set():
                try:
                    caretaker.look(client)
                except httpx.HTTPError as exc:
                    print(f"the Prefect server does not answer: {exc!r}", file=sys.stderr, flush=True)
                if said := watch.look():
                    print(said, flush=True)
                stop.wait(EVERY_S)
    return end(engines(home), grace_s=GRACE_S)


if __name__ == "__main__":
    typer.run(main)
