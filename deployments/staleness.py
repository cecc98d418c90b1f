"""`kvsync-ci stale`, and the same question asked by serve: did the schedule run anything lately?"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvsync.ci.notify.people import SCHEDULE, Message, about_silence, send
from kvsync.ci.settings import Settings, load_settings

if TYPE_CHECKING:
    from kvsync.ci.archive import Archive

ReportDir = Annotated[Path, typer.Option("--report-dir", help="Where the folders of the runs lie.")]

TOLD = "told-stale"
"""The file in the report folder whose time is that of the last notification."""

AGAIN_AFTER = timedelta(days=1)
ASK_EVERY = timedelta(minutes=10)

LOOKBACK = 2000


def stale(report_dir: ReportDir = Path("reports")) -> None:
    """Say whether scheduled runs still happen, and notify when they ceased. For cron.

    Exit status: 0 they do, 1 they ceased, 2 nothing is known, as before the first one.
    """
    # Imported here, as the archive is elsewhere: SQLAlchemy takes time.
    from kvsync.ci.archive import existing_archive
    from kvsync.ci.run.parameters import REPOSITORY

    settings = load_settings(REPOSITORY, os.environ)
    with existing_archive(settings, report_dir) as archive:
        last = _last_scheduled(archive)
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


def silence(settings: Settings, report_dir: Path, now: datetime) -> Message | None:
    """Return what there is to say of a schedule that went silent, None otherwise. Raises ArchiveError."""
    from kvsync.ci.archive import open_archive

    with open_archive(settings, report_dir) as archive:
        last = _last_scheduled(archive)
    return about_silence(last, now, stale_after_hours=settings.notify.stale_after_hours)


def _last_scheduled(archive: "Archive") -> datetime | None:
    runs = archive.series(limit=LOOKBACK)
    return next((run.started_at for run in runs if run.trigger == SCHEDULE), None)


@dataclass(slots=True, kw_only=True)
class StaleWatch:
    """Asks now and then, and tells people at most once a day, also after a restart."""

    settings: Settings
    report_dir: Path
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    asked: datetime | None = None

    def look(self) -> str:
        """Ask if it is time to; returns what was told, or why it could not be, "" for nothing."""
        now, told = self.now(), self.report_dir / TOLD
        too_soon = self.asked is not None and now - self.asked < ASK_EVERY
        if not self.settings.notify.urls or too_soon or _age(told, now) < AGAIN_AFTER:
            return ""
        self.asked = now
        try:
            message = silence(self.settings, self.report_dir, now)
            if message is None:
                return ""
            problem = send(message, self.settings.notify.urls)
        except Exception as error:
            return f"whether the schedule is alive is not known: {error}"
        if problem:
            return f"{message.title}; nobody was notified: {problem}"
        told.touch()
        os.utime(told, (now.timestamp(), now.timestamp()))
        return f"{message.title}; notified"


def _age(path: Path, now: datetime) -> timedelta:
    if not path.exists():
        return timedelta.max
    return now - datetime.fromtimestamp(path.stat().st_mtime, UTC)
