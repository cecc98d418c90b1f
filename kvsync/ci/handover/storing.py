"""The report of a run on its way to the store; `python -m tasks.upload RUN_DIR` sends it and prints how.

An interrupted run has seconds to end by itself. Its guardian, which outlives it, stores its report then; only
where both end together, in a container that was made for the run, it does so itself: by a process that can be
killed, for a store that hangs has no limit.
"""

import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import psutil
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger

from kvsync.ci.errors import StoreError
from kvsync.ci.run.parameters import REPOSITORY, Parameters
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.settings import load_settings
from kvsync.ci.store.opening import open_store
from kvsync.ci.store.upload import Uploaded, upload_run

RETRIES = 2

HURRIED_S = 10.0
"""For the report of an interrupted run."""

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


@task(name="upload", task_run_name="upload", retries=RETRIES, retry_delay_seconds=5, cache_policy=NO_CACHE)
def upload_report(parameters: Parameters) -> Uploaded | None:
    """Store the run's folder; None without a store, and when it fails, tried again if that may help."""
    return stored(parameters, get_run_logger(), retried=not _is_last_attempt())


def stored(parameters: Parameters, log: Log, *, retried: bool = False) -> Uploaded | None:
    """Store the run's folder; None without a store, and when it fails.

    A failure is a warning with its mend: the verdict is about the product, and the report is still on disk.
    Raises StoreError for one that may pass, when the caller tries again.
    """
    try:
        uploaded = upload(parameters)
    except Exception as exc:
        if retried and isinstance(exc, StoreError) and exc.passing:
            raise
        again = shlex.join(
            ["kvsync-ci", "upload", parameters.run, "--report-dir", str(parameters.report_dir)]
        )
        log.warning("not uploaded: %s; the report is in %s, retry: %s", exc, parameters.run_dir, again)
        return None
    if uploaded:
        log.info("uploaded %d files, %d bytes: %s", uploaded.files, uploaded.bytes, uploaded.address)
    return uploaded


def ends_all(init: Sequence[str]) -> bool:
    """Say whether everything ends with the run: process 1, of this command line, was started for it alone."""
    return "flow-run" in init  # `prefect flow-run execute`, as in each container that a worker makes


def stored_at_last(parameters: Parameters, log: Log) -> Uploaded | None:
    """Store the folder of an interrupted run if nobody can do so after it; None if not, and when it fails."""
    try:
        return stored_soon(parameters, log) if ends_all(psutil.Process(1).cmdline()) else None
    except psutil.Error:
        return None


def stored_soon(parameters: Parameters, log: Log, *, within_s: float = HURRIED_S) -> Uploaded | None:
    """Store the run's folder within seconds; None without a store, and when there is no time for it."""
    if not load_settings(REPOSITORY, os.environ).store.url:
        return None
    words = [sys.executable, "-m", "tasks.upload", str(parameters.run_dir)]
    try:
        sent = subprocess.run(
            words,
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


def upload(parameters: Parameters) -> Uploaded | None:
    """Store the run's folder where this installation is set up to; None without a store.

    The settings are never those of the code that a run tests. Raises ConfigError and StoreError.
    """
    settings = load_settings(REPOSITORY, os.environ).store
    store = open_store(settings)
    return upload_run(RunFolder(parameters.run_dir), store, settings.project) if store else None


def _is_last_attempt() -> bool:
    context = TaskRunContext.get()
    return context is None or context.task_run.run_count > RETRIES


if __name__ == "__main__":
    folder = RunFolder(Path(sys.argv[1]))
    if uploaded := upload(Parameters.model_validate_json(folder.parameters.read_text())):
        print(json.dumps(asdict(uploaded)))
