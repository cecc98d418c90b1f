"""`kvsync-ci upload` and `kvsync-ci prune`."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.console import DEFAULT_REPORTS, ReportDir, RunId, installation, run_folders, say
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.run import Run
from kvsync.ci.run_folder import find_run
from kvsync.ci.store.opening import open_store
from kvsync.ci.store.store import STALE_UPLOAD_DAYS, Store
from kvsync.errors import ConfigError

if TYPE_CHECKING:
    from kvsync.ci.store.s3 import S3Store


def upload(
    run_id: RunId = "last",
    every: Annotated[
        bool, typer.Option("--all", help="All runs whose report is not in the store, or not on GitHub, yet.")
    ] = False,
    link: Annotated[
        bool,
        typer.Option("--link", help="Print links as they are: a signed one opens the report for anyone."),
    ] = False,
    report_dir: ReportDir = DEFAULT_REPORTS,
) -> None:
    """Bring a run in the store up to date with its folder, and send GitHub what it did not take at its end.

    Only what differs is sent. Exit status: 1 when GitHub did not take it again.
    """
    from kvsync.ci.cleaning.launcher import is_running
    from kvsync.ci.store.upload import is_uploaded, upload_run

    here = installation()
    settings, store = here.settings.store, open_store(here.settings.store)
    to_github, refused = bool(here.settings.github.token), False
    if store is None and not to_github:
        raise ConfigError("configuration of the pipeline", ["store.url: no store; set KVSYNC_CI_STORE_URL"])
    for folder in run_folders(report_dir) if every else [find_run(report_dir, run_id, having="ledger.jsonl")]:
        if is_running(folder.ledger):
            say(f"{folder.path.name}: still running, left alone")
            continue
        if store and not (every and is_uploaded(folder, store, settings.project)):
            done = upload_run(folder, store, settings.project)
            where = done.url if link else done.address
            say(f"{folder.path.name}: {done.files} files, {done.bytes} bytes sent: {where}")
            for name in done.refused:
                say(f"{folder.path.name}: not stored, it has no name that can be kept: {name!r}")
        if to_github and folder.report.exists() and not folder.told.exists():
            refused |= not _tell(Run(Parameters.of(folder), here))
    raise typer.Exit(1 if refused else 0)


def _tell(run: Run) -> bool:
    """Send GitHub what it did not take of a run; False when it does not take it now."""
    from kvsync.ci.handover.settlement import settle

    settle(run, broken="", road="quiet")
    is_told = run.folder.told.exists()
    say(f"{run.folder.path.name}: GitHub {'has been told' if is_told else 'did not take it'}")
    return is_told


def prune(
    check: Annotated[bool, typer.Option("--check", help="Only say what would be removed.")] = False,
    lifecycle: Annotated[
        bool, typer.Option("--lifecycle", help="Have the bucket itself remove what is not pruned, too.")
    ] = False,
    report_dir: ReportDir = DEFAULT_REPORTS,
) -> None:
    """Remove runs older than `keep_days` (or `keep_failed_days`) from the report folder and the store.

    What still runs, and what left something behind, stays.
    """
    from kvsync.ci.cleaning.labelled import on_this_machine
    from kvsync.ci.store import retention

    settings = installation().settings.store
    store = open_store(settings)
    bucket, now = _bucket(store) if lifecycle else None, datetime.now(UTC)
    removed = "to be removed" if check else "removed"
    old = list(retention.expired_in_folder(report_dir, now=now, settings=settings, marked=on_this_machine()))
    if not check:
        retention.remove_folders(report_dir, [folder for _, folder, why_not in old if not why_not])
    for kept, _, why_not in old:
        say(f"{report_dir}: {kept}, {f'stays: {why_not}' if why_not else removed}")
    if store is not None:
        for kept, keys in retention.expired_in_store(store, now=now, settings=settings):
            if not check:
                retention.remove_stored(store, keys)
            say(f"{settings.url}: {kept}, {removed}")
        if not check:
            store.tidy(f"{settings.project}/", before=now - timedelta(days=STALE_UPLOAD_DAYS))
    if bucket:
        told = "the bucket would get its lifecycle rule" if check else bucket.put_lifecycle()
        say(f"{settings.url}: {told}")


def _bucket(store: Store | None) -> "S3Store":
    from kvsync.ci.store.s3 import S3Store

    if not isinstance(store, S3Store):
        raise ConfigError(
            "configuration of the pipeline", ["store.url: only an s3:// bucket has a lifecycle"]
        )
    return store
