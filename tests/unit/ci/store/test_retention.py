"""How long runs are kept, in the store and in the report folder."""

import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from kvsync.ci.cleaning.launcher import LAUNCHER
from kvsync.ci.report.report import Report
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.settings import StoreSettings
from kvsync.ci.store.directory import DirectoryStore
from kvsync.ci.store.retention import (
    Kept,
    expired_in_folder,
    expired_in_store,
    is_expired,
    remove_folders,
    remove_stored,
    started_at,
)
from kvsync.ci.store.upload import upload_run
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.outcome import Check, CheckKind, Outcome, merge

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
KEEP = StoreSettings()


def report(run: str, kind: CheckKind, began: datetime = NOW) -> Report:
    """Return a run's report with one check that ended so."""
    return Report(
        run=run,
        started_at=began,
        duration_s=1.0,
        command="kvsync-ci run",
        stages=(merge("unit", [Check(name="test_a", kind=kind)], started_at=began),),
        parameters={},
        versions={},
        machine={},
    )


def made(report_dir: Path, run: str, kind: CheckKind | None) -> RunFolder:
    """Return a run's folder, with a report unless the run died."""
    folder = RunFolder(report_dir / run)
    Ledger(folder.ledger).released(Ledger(folder.ledger).intend("path", str(report_dir / "gone")))
    (folder.path / "logs").mkdir()
    (folder.path / "logs" / "unit.log").write_text("hello")
    if kind:
        report(run, kind).write(folder.report)
    return folder


PASSED, FAILED, UNKNOWN = Outcome.PASSED, Outcome.FAILED, Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("age_days", "verdict", "expired"),
    [
        (90, PASSED, False),
        (91, PASSED, True),
        (91, FAILED, False),
        (91, UNKNOWN, False),
        (91, None, False),
        (365, FAILED, False),
        (366, FAILED, True),
        (366, UNKNOWN, True),
        (366, None, True),
        (-1, PASSED, False),
        (None, PASSED, False),
    ],
)
def test_how_long_a_run_is_kept(age_days: int | None, verdict: Outcome | None, expired: bool) -> None:
    """90 days; 365 for what did not pass; for ever when its age is not known."""
    began = None if age_days is None else NOW - timedelta(days=age_days)

    kept = Kept(run="run", at=began, verdict=verdict)

    assert is_expired(kept, now=NOW, settings=KEEP) is expired


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("20261120-120000-ab12", NOW),
        ("20261120-120000-ab12-2", NOW),
        ("20261320-120000-ab12", None),
        ("my-own-run", None),
        ("", None),
    ],
)
def test_the_time_in_an_id(run: str, expected: datetime | None) -> None:
    """Ids begin with the time of the start; one that does not has none."""
    assert started_at(run) == expected


@pytest.mark.parametrize("text", [None, b"", b"{", b"[]", b'"x"', b'{"run": 1}', b"\xff"])
def test_a_report_that_cannot_be_read_is_none(text: bytes | None) -> None:
    """Such a run counts as failed, and is as old as its id says."""
    assert Kept.of("20261120-120000-ab12", text) == Kept(run="20261120-120000-ab12", at=NOW, verdict=None)


def test_a_run_with_a_name_of_its_own_is_as_old_as_its_report(tmp_path: Path) -> None:
    """The report's time stands in for that of the id."""
    report("mine", "failed", NOW - timedelta(days=1)).write(tmp_path / "report.json")

    kept = Kept.of("mine", (tmp_path / "report.json").read_bytes())

    assert kept == Kept(run="mine", at=NOW - timedelta(days=1), verdict=FAILED)


def test_a_run_that_was_repeated_is_as_old_as_its_last_attempt(tmp_path: Path) -> None:
    """What failed long ago and passes since yesterday is kept, in the store, too."""
    folder = made(tmp_path / "reports", "20260819-000000-ab12", None)
    long_ago, yesterday = NOW - timedelta(days=93), NOW - timedelta(days=1)
    replace(report(folder.path.name, "passed", long_ago), ended_at=yesterday).write(folder.report)
    store = DirectoryStore(tmp_path / "store")
    upload_run(folder, store, "kvsync")

    assert Kept.of(folder.path.name, folder.report.read_bytes()).at == yesterday
    assert list(expired_in_folder(tmp_path / "reports", now=NOW, settings=KEEP, marked=[])) == []
    assert list(expired_in_store(store, now=NOW, settings=KEEP)) == []


def test_the_store_is_pruned_by_verdict_and_age(tmp_path: Path) -> None:
    """Old passed runs go, with every file and the manifest; those of other projects stay."""
    store = DirectoryStore(tmp_path / "store")
    for run, kind in (
        ("20260101-000000-pass", "passed"),
        ("20260101-000000-fail", "failed"),
        ("20250101-000000-fail", "failed"),
        ("20250101-000000-dead", None),
        ("20261119-000000-pass", "passed"),
    ):
        upload_run(made(tmp_path / "reports", run, kind), store, "kvsync")  # type: ignore[arg-type]  # str
    upload_run(RunFolder(tmp_path / "reports" / "20260101-000000-pass"), store, "other")

    found = list(expired_in_store(store, now=NOW, settings=KEEP))
    for _, keys in found:
        remove_stored(store, keys)

    assert [str(kept) for kept, _ in found] == [
        "20250101-000000-dead: no report",
        "20250101-000000-fail: failed",
        "20260101-000000-pass: passed",
    ]
    assert {key.rpartition("/")[0].removesuffix("/logs") for key in store.list()} == {
        "kvsync/20260101-000000-fail",
        "kvsync/20261119-000000-pass",
        "other/20260101-000000-pass",
    }


class Recording(DirectoryStore):
    """A store that remembers what was deleted, one call after the other."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.calls: list[list[str]] = []

    def delete(self, keys: Iterable[str]) -> None:
        """Remember them."""
        self.calls.append([key.rpartition("/")[2] for key in keys])


def test_a_run_that_is_half_removed_is_no_complete_run_of_unknown_age(tmp_path: Path) -> None:
    """The proof goes first, and the report, which says how old the run is, last."""
    store = Recording(tmp_path)

    remove_stored(store, [f"p/run/{name}" for name in ("a.log", "manifest.json", "report.json", "z/b.log")])

    assert store.calls == [["manifest.json"], ["a.log", "b.log"], ["report.json"]]


def test_a_folder_is_pruned_unless_it_is_still_needed(tmp_path: Path) -> None:
    """A run that goes on, or left something, stays and says why; what was half removed before goes too."""
    made(tmp_path, "20260101-000000-pass", "passed")
    made(tmp_path, "20260101-000000-fail", "failed")
    running = Ledger(made(tmp_path, "20250101-000000-runs", None).ledger)
    running.created(
        running.intend(LAUNCHER, "kvsync-ci run"), pid=os.getpid(), create_time=psutil.Process().create_time()
    )
    Ledger(made(tmp_path, "20250101-000000-left", "failed").ledger).intend("path", str(tmp_path / "left"))
    (tmp_path / ".20240101-000000-half.removed" / "logs").mkdir(parents=True)
    (tmp_path / "archive.db").write_text("kept")

    found = list(expired_in_folder(tmp_path, now=NOW, settings=KEEP, marked=[]))
    remove_folders(tmp_path, [folder for _, folder, why_not in found if not why_not])

    assert [(kept.run, why_not) for kept, _, why_not in found] == [
        ("20250101-000000-left", "1 left behind, end them with `kvsync-ci clean`"),
        ("20250101-000000-runs", "still running"),
        ("20260101-000000-pass", ""),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "20250101-000000-left",
        "20250101-000000-runs",
        "20260101-000000-fail",
        "archive.db",
    ]
