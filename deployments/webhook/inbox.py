"""The accepted deliveries, which are on disk before they are answered.

Each is there once, by GitHub's delivery id, for 30 days, and so is each push, of which two webhooks tell. It
waits until it is finished. Several processes may share one inbox.
"""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from deployments.webhook.decision import WORK, Start, Work

KEPT_S = 30 * 24 * 3600.0
BUSY_TIMEOUT_S = 5.0

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery TEXT NOT NULL UNIQUE,
    received REAL NOT NULL,
    work TEXT NOT NULL,
    pull_request TEXT NOT NULL,
    at REAL NOT NULL,
    supersedes INTEGER NOT NULL,
    outcome TEXT,
    flow_run TEXT
);
CREATE TABLE IF NOT EXISTS cleared (
    pull_request TEXT NOT NULL,
    commit_hash TEXT NOT NULL,
    delivery TEXT NOT NULL,
    received REAL NOT NULL,
    PRIMARY KEY (pull_request, commit_hash)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS heads (
    place TEXT NOT NULL,
    commit_hash TEXT NOT NULL,
    received REAL NOT NULL,
    PRIMARY KEY (place, commit_hash)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS presence (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    until REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS waiting ON deliveries (number) WHERE outcome IS NULL;
CREATE INDEX IF NOT EXISTS pull_requests ON deliveries (pull_request, at, number);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A row: `number` is the order of arrival, `at` GitHub's time of the event (seconds since 1970)."""

    number: int
    delivery: str
    text: str
    pull_request: str
    at: float

    @property
    def work(self) -> Work:
        """What is to be done. Raises pydantic's ValidationError when another version wrote it."""
        return WORK.validate_json(self.text)

    @property
    def key(self) -> str:
        """The idempotency key of its flow run."""
        return f"{KEY_PREFIX}{self.delivery}"


KEY_PREFIX = "github-"


def missed_name(place: str, commit: str) -> str:
    """Return what stands for the id of a delivery that never came."""
    return f"missed-{sha256(f'{place} {commit}'.encode()).hexdigest()[:32]}"


class Inbox:
    """A SQLite file. Methods may be called from any thread; each change is on disk when it returns.

    Raises sqlite3.Error where the file cannot be read or written.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        self._database.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def add(self, delivery: str, work: Work) -> bool:
        """Write a delivery down; False if it is already there, or another one of the same push."""
        now, text = self._clock(), work.model_dump_json()
        at = work.at.timestamp() if work.at else now
        row = (delivery, now, text, work.pull_request, at, work.supersedes)
        same = text if isinstance(work, Start) and work.pushed_over else None
        return bool(
            self._run(
                "INSERT INTO deliveries (delivery, received, work, pull_request, at, supersedes)"
                " SELECT ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE work = ?)"
                " ON CONFLICT (delivery) DO NOTHING RETURNING number",
                *row,
                same,
            )
        )

    def has(self, delivery: str) -> bool:
        """Whether a delivery was written down."""
        return bool(self._run("SELECT 1 FROM deliveries WHERE delivery = ?", delivery))

    def waiting(self) -> list[Delivery]:
        """Return the unfinished deliveries, in the order of arrival."""
        rows = self._run(
            "SELECT number, delivery, work, pull_request, at FROM deliveries"
            " WHERE outcome IS NULL ORDER BY number"
        )
        return [
            Delivery(number=number, delivery=name, text=text, pull_request=pull_request, at=at)
            for number, name, text, pull_request, at in rows
        ]

    def is_waiting(self, delivery: Delivery) -> bool:
        """Whether a delivery is there and not finished."""
        return bool(
            self._run("SELECT 1 FROM deliveries WHERE number = ? AND outcome IS NULL", delivery.number)
        )

    def finish(self, delivery: Delivery, outcome: str, flow_run: str | None = None) -> None:
        """Record what became of a delivery."""
        self._run(
            "UPDATE deliveries SET outcome = ?, flow_run = ? WHERE number = ?",
            outcome,
            flow_run,
            delivery.number,
        )

    def is_superseded(self, delivery: Delivery) -> bool:
        """Whether a newer commit, or the end, of the same pull request is known."""
        return bool(
            self._run(
                "SELECT 1 FROM deliveries"
                " WHERE pull_request = ? AND supersedes AND (at, number) > (?, ?) LIMIT 1",
                delivery.pull_request,
                delivery.at,
                delivery.number,
            )
        )

    def is_older(self, key: str | None, than: Delivery) -> bool:
        """Whether the flow run with this key belongs to a delivery older than `than`; False if to none."""
        return bool(
            self._run(
                "SELECT 1 FROM deliveries WHERE delivery = ? AND (at, number) < (?, ?)",
                (key or "").removeprefix(KEY_PREFIX),
                than.at,
                than.number,
            )
        )

    def head_before(self, delivery: Delivery) -> Work | None:
        """Return what was last known of the pull request before a delivery, by time and by arrival."""
        rows = self._run(
            "SELECT work FROM deliveries WHERE pull_request = ? AND supersedes AND at < ? AND number < ?"
            " ORDER BY at DESC, number DESC LIMIT 1",
            delivery.pull_request,
            delivery.at,
            delivery.number,
        )
        return WORK.validate_json(rows[0][0]) if rows else None

    def clear(self, delivery: Delivery, commit: str) -> None:
        """Let a commit of the pull request run."""
        self._run(
            "INSERT INTO cleared VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            delivery.pull_request,
            commit,
            delivery.delivery,
            self._clock(),
        )

    def cleared_by(self, delivery: Delivery, commit: str) -> str | None:
        """Return the delivery that let a commit of the pull request run, None if none has."""
        rows = self._run(
            "SELECT delivery FROM cleared WHERE pull_request = ? AND commit_hash = ?",
            delivery.pull_request,
            commit,
        )
        return str(rows[0][0]) if rows else None

    def note(self, place: str, commit: str) -> bool:
        """Remember that a branch, pull request or queue was at a commit; False if that was known."""
        return bool(
            self._run(
                "INSERT INTO heads VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING place",
                place,
                commit,
                self._clock(),
            )
        )

    def knows(self, place: str, commit: str) -> bool:
        """Whether a place is known to have been at a commit."""
        return bool(self._run("SELECT 1 FROM heads WHERE place = ? AND commit_hash = ?", place, commit))

    def was_missed(self, place: str, commit: str, at: float | None) -> bool:
        """Whether a commit was started because its delivery, of this time, had not come."""
        rows = self._run("SELECT at FROM deliveries WHERE delivery = ?", missed_name(place, commit))
        return bool(rows) and (at is None or at <= rows[0][0])

    def present_until(self) -> float | None:
        """Return when nothing was missed for the last time, None if that was never known."""
        rows = self._run("SELECT until FROM presence")
        return float(rows[0][0]) if rows else None

    def be_present(self, until: float) -> None:
        """Write down that nothing was missed before a time."""
        self._run("INSERT OR REPLACE INTO presence VALUES (1, ?)", until)

    def depth(self) -> tuple[int, float]:
        """Return how many deliveries wait, and for how many seconds the oldest has waited."""
        ((count, oldest),) = self._run("SELECT count(*), min(received) FROM deliveries WHERE outcome IS NULL")
        return count, max(0.0, self._clock() - oldest) if count else 0.0

    def outcomes(self) -> dict[str, tuple[str | None, str | None]]:
        """Return outcome and flow run of every delivery."""
        rows = self._run("SELECT delivery, outcome, flow_run FROM deliveries ORDER BY number")
        return {delivery: (outcome, flow_run) for delivery, outcome, flow_run in rows}

    def prune(self) -> list[str]:
        """Forget what is older than 30 days; returns the deliveries that were still waiting."""
        self._run("DELETE FROM cleared WHERE received < ?", self._clock() - KEPT_S)
        self._run("DELETE FROM heads WHERE received < ?", self._clock() - KEPT_S)
        rows = self._run(
            "DELETE FROM deliveries WHERE received < ? RETURNING delivery, outcome", self._clock() - KEPT_S
        )
        return [delivery for delivery, outcome in rows if outcome is None]

    def _run(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()
