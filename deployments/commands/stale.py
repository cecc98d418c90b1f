"""`kvsync-ci stale`: do scheduled runs still happen? For cron."""

from datetime import UTC, datetime

import typer

from deployments.commands.console import DEFAULT_REPORTS, ReportDir, installation
from deployments.service.staleness import last_scheduled
from kvsync.ci.notify.people import about_silence, send


def stale(report_dir: ReportDir = DEFAULT_REPORTS) -> None:
    """Say whether scheduled runs still happen, and notify if they have stopped. For cron.

    Exit status: 0: they do, 1: they have stopped, 2: not known, as before the first one.
    """
    from kvsync.ci.archive.archive import existing_archive

    settings = installation().settings
    with existing_archive(settings, report_dir) as archive:
        last = last_scheduled(archive)
    if last is None:
        typer.echo("no scheduled run is in the archive, so nothing says that the schedule is alive", err=True)
        raise typer.Exit(2)
    message = about_silence(last, datetime.now(UTC), stale_after_hours=settings.notify.stale_after_hours)
    if message is None:
        typer.echo(f"the schedule is alive: its last run began {last:%Y-%m-%d %H:%M} UTC")
        return
    typer.echo(f"{message.title}\n{message.body}")
    if settings.notify.urls and (problem := send(message, settings.notify.urls)):
        typer.echo(f"nobody was notified: {problem}", err=True)
    raise typer.Exit(1)
