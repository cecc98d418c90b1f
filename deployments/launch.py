"""Starts a run in a process of its own, and makes sure that it leaves a report and nothing else behind.

The process of its own has two reasons: what Prefect and its temporary server print goes to a log instead
of the terminal, and a run that dies, however it dies, still gets its report and its cleanup from here.
It is forked, for half of what it imports has been imported here.
"""

import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
from rich.console import Console

from deployments.process import begin
from deployments.progress import follow
from kvsync.ci.cleaning.launcher import LAUNCHER
from kvsync.ci.handover.settlement import FULL, remove_leftovers, settle, settle_without_room
from kvsync.ci.interruption import stop_on_signal
from kvsync.ci.report.report import Report
from kvsync.ci.run.judgement import gating
from kvsync.ci.run.parameters import REPOSITORY, Parameters
from kvsync.ci.run.run import Run
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.progress import RunProgress
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.living import facts_of

PATIENCE_S = 8.0
"""How long an interrupted run may take to write its report before it is killed: Ctrl-C promises 10 s."""


def launch(run: Run, console: Console) -> Report:
    """Run the pipeline in this environment to its end; returns its report, whatever happened to the run."""
    try:
        return _launch(run, console)
    except OSError as exc:
        if exc.errno not in FULL:
            raise
        return settle_without_room(run)


def _launch(run: Run, console: Console) -> Report:
    parameters, folder = run.parameters, run.folder
    folder.logs.mkdir(parents=True, exist_ok=True)
    folder.hold_room()
    if parameters.repeat:
        folder.make_room()
    ledger = Ledger(folder.ledger, run=parameters.run)
    launcher = ledger.created(ledger.intend(LAUNCHER, "kvsync-ci run"), **facts_of(os.getpid()))
    parameters.keep_in(folder)
    progress = RunProgress(folder, lambda: _kept(parameters).due, partial(gating, folder))
    entry = ledger.intend("process", "pipeline")
    with stop_on_signal() as stop:
        process = _started(run, ledger)
        ledger.created(entry, **facts_of(process.pid))
        with follow(progress, console):
            exit_code = _end_of(process, stop)
        ledger.released(entry)
    folder.give_room()
    run = replace(run, parameters=_kept(parameters))  # the flow may have found its stages meanwhile
    for line in remove_leftovers(parameters):
        console.print(line, markup=False, soft_wrap=True)
    why = f"the pipeline's process ended with {exit_code}; see {folder.logs / 'pipeline.log'}"
    report = settle(run, why, "quiet" if stop.is_set() else "full")
    ledger.released(launcher)
    return report


def _kept(parameters: Parameters) -> Parameters:
    """Return the parameters as the folder of the run has them, or else the given ones."""
    try:
        return Parameters.of(RunFolder(parameters.run_dir))
    except (OSError, ValueError):
        return parameters


def _started(run: Run, ledger: Ledger) -> psutil.Process:
    """Fork the process of the run, before this one has threads, which a fork would be without."""
    with (run.folder.logs / "pipeline.log").open("ab") as log:
        pid = os.fork()
        if not pid:
            begin(run.folder, log.fileno(), ledger.environment)
    return psutil.Process(pid)


def _end_of(process: psutil.Process, stop: threading.Event) -> int:
    """Wait for the end; on `stop` ask once, and kill a process that takes too long over it."""
    deadline = float("inf")
    while True:
        with suppress(psutil.TimeoutExpired):
            return int(process.wait(0.1) or 0)
        if stop.is_set() and deadline == float("inf"):
            process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + PATIENCE_S
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)


def environment(report_dir: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a run: `given`, and nothing that the run writes is outside the report folder.

    Without PREFECT_API_URL a temporary server is started; its database then lies in the report folder, so
    that nothing is left in a home directory.
    """
    ours = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), given.get("PYTHONPATH")])),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "MPLCONFIGDIR": str(report_dir / ".matplotlib"),
    }
    if not given.get("PREFECT_API_URL"):
        ours["PREFECT_HOME"] = str(report_dir / ".prefect")
    return {**given, **ours}
