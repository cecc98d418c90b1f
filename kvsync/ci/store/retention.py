"""How long runs are kept, and the end of those that are too old.

- What passed is kept for `keep_days`; what failed, is unknown, or has no report that can be read, for
  `keep_failed_days`.
- A run is as old as the time in its id, or as the end of its last attempt, which is in the report. Without
  either, a run stays.
- A folder stays while its run goes on, and while something that the run made still exists: without its
  ledger nothing could remove that.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kvsync.ci.cleaning.launcher import is_running
from kvsync.ci.cleaning.residue import find
from kvsync.ci.errors import StoreError
from kvsync.ci.report.report import Report
from kvsync.ci.run_folder import UNREADABLE, RunFolder
from kvsync.ci.settings import StoreSettings
from kvsync.ci.store.store import Store
from kvsync.ci.store.upload import MANIFEST
from kvsync.errors import UnknownName
from kvsync.testing.processes.ledger import LedgerEntry
from kvsync.testing.results.outcome import Outcome

_REPORT = "report.json"
_REMOVED = ".removed"
"""The end of the name of a folder that is being removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What decides how long a run is kept: since when, and its verdict, None when no report says it."""

    run: str
    at: datetime | None
    verdict: Outcome | None

    @classmethod
    def of(cls, run: str, report: str | bytes | None) -> "Kept":
        """Read it from a run's id and its report.json."""
        began = started_at(run)
        try:
            found = Report.from_json(json.loads(report or "null"))
            at = max(filter(None, [began, found.ended_at]), default=found.started_at)
            return cls(run=run, at=at, verdict=found.verdict)
        except UNREADABLE:
            return cls(run=run, at=began, verdict=None)

    def __str__(self) -> str:
        return f"{self.run}: {self.verdict.name.lower() if self.verdict is not None else 'no report'}"


def started_at(run: str) -> datetime | None:
    """Return the time in a run's id, None when there is none."""
    try:
        return datetime.strptime(run[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def is_expired(kept: Kept, *, now: datetime, settings: StoreSettings) -> bool:
    """Say whether a run is older than what its verdict is kept for."""
    days = settings.keep_days if kept.verdict is Outcome.PASSED else settings.keep_failed_days
    return kept.at is not None and now - kept.at > timedelta(days=days)


def expired_in_store(
    store: Store, *, now: datetime, settings: StoreSettings
) -> Iterator[tuple[Kept, list[str]]]:
    """Find the stored runs to remove, each with its keys; only reports of old runs are fetched."""
    base = f"{settings.project}/"
    runs: dict[str, list[str]] = {}
    for key in store.list(base):
        run, _, name = key.removeprefix(base).partition("/")
        if name:
            runs.setdefault(run, []).append(key)
    newest = now - timedelta(days=min(settings.keep_days, settings.keep_failed_days))
    for run, keys in runs.items():
        began = started_at(run)
        if began is None or began < newest:
            kept = Kept.of(run, _fetched(store, f"{base}{run}/{_REPORT}"))
            if is_expired(kept, now=now, settings=settings):
                yield kept, keys


def remove_stored(store: Store, keys: Sequence[str]) -> None:
    """Remove a stored run. Raises StoreError; until the end there is a report, and so the run's age."""
    first = [key for key in keys if key.endswith(f"/{MANIFEST}")]
    last = [key for key in keys if key.endswith(f"/{_REPORT}")]
    for some in (first, [key for key in keys if key not in {*first, *last}], last):
        store.delete(some)


def expired_in_folder(
    report_dir: Path, *, now: datetime, settings: StoreSettings, marked: Sequence[LedgerEntry]
) -> Iterator[tuple[Kept, RunFolder, str]]:
    """Find the runs of a report folder to remove, each with why it has to stay, or "".

    `marked` is what bears the mark of any run on this machine.
    """
    for folder in (RunFolder(ledger.parent) for ledger in sorted(report_dir.glob("*/ledger.jsonl"))):
        kept = Kept.of(folder.path.name, folder.report.read_bytes() if folder.report.is_file() else None)
        if is_expired(kept, now=now, settings=settings):
            yield kept, folder, _why_not(folder, marked)


def remove_folders(report_dir: Path, folders: Iterable[RunFolder]) -> None:
    """Remove runs, and what an interrupted call left of others. Raises StoreError.

    They are renamed before, and without a ledger, so that half of a folder is not taken for a run.
    """
    try:
        for folder in folders:
            doomed = folder.path.replace(report_dir / f".{folder.path.name}{_REMOVED}")
            RunFolder(doomed).ledger.unlink()
        for doomed in report_dir.glob(f".*{_REMOVED}"):
            shutil.rmtree(doomed)
    except OSError as exc:
        raise StoreError(f"remove {exc.filename}", exc.strerror or str(exc), "correct its rights") from exc


def _why_not(folder: RunFolder, marked: Sequence[LedgerEntry]) -> str:
    if is_running(folder.ledger):
        return "still running"
    left = len(find(folder.ledger, marked=marked).describe())
    return f"{left} left behind, end them with `kvsync-ci clean`" if left else ""


def _fetched(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except UnknownName:
        return None
