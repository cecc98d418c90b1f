"""The report of a run on its way to the store.

An interrupted run has seconds to end by itself. Its guardian, which outlives it, stores its report then; only
if both end together, in a container that was made for the run, it does so itself: in a process that can be
killed (`python -m kvsync.ci.handover RUN_DIR`), since a store that hangs has no limit.
"""

import json
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import replace

import psutil

from kvsync.ci.concealment import concealed, sealed
from kvsync.ci.errors import StoreError
from kvsync.ci.handover.handover import Handover, Log
from kvsync.ci.run.parameters import REPOSITORY
from kvsync.ci.run.run import Run
from kvsync.ci.store.opening import open_store
from kvsync.ci.store.upload import Uploaded, upload_run

HURRIED_S = 10.0
"""For the report of an interrupted run."""


def store(handover: Handover, log: Log) -> Handover:
    """Store the run's folder, if there is a store.

    A failure is a warning with its mend: the verdict is about the product, and the report is still on disk.
    Raises StoreError for one that may pass, if the caller tries again.
    """
    run = handover.run
    try:
        uploaded = upload(run)
    except Exception as exc:
        if handover.retried and isinstance(exc, StoreError) and exc.passing:
            raise
        again = upload_again(run)
        log.warning("not uploaded: %s; the report is in %s, retry: %s", exc, run.folder.path, again)
        return handover
    if uploaded:
        log.info("uploaded %d files, %d bytes: %s", uploaded.files, uploaded.bytes, uploaded.address)
    return replace(handover, uploaded=uploaded)


def store_at_last(handover: Handover, log: Log) -> Handover:
    """Store the folder of an interrupted run if nothing outlives it to do so; else leave it to others."""
    if not handover.run.settings.store.url:
        return handover
    try:
        is_last = ends_all(psutil.Process(1).cmdline())
    except psutil.Error:
        is_last = False
    uploaded = stored_soon(handover.run, log) if is_last else None
    return replace(handover, uploaded=uploaded, pending=True)


def ends_all(init: Sequence[str]) -> bool:
    """Say whether everything ends with the run: process 1, of this command line, was started for it alone."""
    return "flow-run" in init  # `prefect flow-run execute`, as in each container that a worker makes


def stored_soon(run: Run, log: Log, *, within_s: float = HURRIED_S) -> Uploaded | None:
    """Store the run's folder within seconds; None if there is no time for it."""
    try:
        with sealed(run.installation.handed) as handed:
            sent = subprocess.run(
                concealed(handed, "kvsync.ci.handover", str(run.folder.path)),
                pass_fds=[handed],
                stdout=subprocess.PIPE,
                timeout=within_s,
                check=True,
                cwd=REPOSITORY,
                start_new_session=True,
            )
        return Uploaded(**json.loads(sent.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as exc:
        log.warning("not uploaded in time: %s", exc)
        return None


def upload(run: Run) -> Uploaded | None:
    """Store the run's folder; None without a store. Raises ConfigError and StoreError."""
    settings = run.settings.store
    opened = open_store(settings)
    return upload_run(run.folder, opened, settings.project) if opened else None


def upload_again(run: Run) -> str:
    """Return the command that sends what was not sent."""
    words = ["kvsync-ci", "upload", run.parameters.run, "--report-dir", str(run.parameters.report_dir)]
    return shlex.join(words)
