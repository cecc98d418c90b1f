"""The report of a run on its way to the store."""

import logging
import os
import shlex

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger

from kvsync.errors import StoreError
from kvsync.testing.run_folder import RunFolder
from kvsync.testing.settings import load_settings
from kvsync.testing.store import open_store
from kvsync.testing.upload import Uploaded, upload_run
from tasks.parameters import REPOSITORY, Parameters

RETRIES = 2

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
