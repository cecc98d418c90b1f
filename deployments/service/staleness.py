"""Has the schedule run anything lately? serve asks again and again, `kvsync-ci stale` once."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kvsync.ci.notify.people import SCHEDULE, Message, about_silence, send
from kvsync.ci.settings import Settings

if TYPE_CHECKING:
    from kvsync.ci.archive.archive import Archive

TOLD = "told-stale"
"""The file in the report folder whose time is that of the last notification."""

AGAIN_AFTER = timedelta(days=1)
ASK_EVERY = timedelta(minutes=10)

LOOKBACK = 2000


def silence(settings: Settings, report_dir: Path, now: datetime) -> Message | None:
    """Return what there is to say of a schedule that went silent, None otherwise. Raises ArchiveError."""
    from kvsync.ci.archive.archive import open_archive

    with open_archive(settings, report_dir) as archive:
        last = last_scheduled(archive)
    return about_silence(last, now, stale_after_hours=settings.notify.stale_after_hours)


def last_scheduled(archive: "Archive") -> datetime | None:
    """Return when the newest run began that a schedule started, None when the archive has none."""
    runs = archive.series(limit=LOOKBACK)
    return next((run.started_at for run in runs if run.trigger == SCHEDULE), None)


@dataclass(slots=True, kw_only=True)
class StaleWatch:
    """Asks at intervals, and notifies people at most once a day, even after a restart."""

    settings: Settings
    report_dir: Path
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    asked: datetime | None = None

    def look(self) -> str:
        """Ask if it is time to; returns what people were told, or why they could not be, "" for nothing."""
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
