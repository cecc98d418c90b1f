"""Who has to hear of a run: decisions, which are pure, and their way out through apprise.

- A run that got worse than the one before it of the same trigger and branch is told, and each scheduled run
  that did not pass: no one looks at those unless asked to.
- A schedule that ran nothing for too long is told: silence looks like success.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import SecretStr

from kvsync.ci.archive.comparison import RunComparison
from kvsync.ci.report.report import Report
from kvsync.testing.results.outcome import Outcome

if TYPE_CHECKING:
    from kvsync.ci.archive.records import PastRun

SCHEDULE = "schedule"
"""The trigger of runs that started by themselves."""

LONGEST_BODY = 2000


@dataclass(frozen=True, slots=True)
class Message:
    """What people are told, as plain text."""

    title: str
    body: str


def about_run(
    report: Report, earlier: Sequence["PastRun"], comparison: RunComparison | None, link: str
) -> Message | None:
    """Say what a run found, None if no one has to hear of it. `earlier`: runs like it, the newest first."""
    trigger = str(report.parameters.get("trigger", "manual"))
    before = before_it(report, earlier)
    was = before.verdict if before else Outcome.PASSED
    nightly = trigger == SCHEDULE
    if report.verdict is Outcome.PASSED or not (nightly or report.verdict > was):
        return None
    parts = [report.reason, comparison.status_text() if comparison else "", link, report.command]
    return Message(
        title=_line(f"kvsync-ci: {report.verdict.name}: {trigger} run of {report.subject}"),
        body="\n".join(filter(None, parts))[:LONGEST_BODY],
    )


def before_it(report: Report, earlier: Sequence["PastRun"]) -> "PastRun | None":
    """Return the last run before this one that had its trigger and tested its branch or pull request."""
    source = report.parameters.get("source")
    number = source.get("pull_request") if isinstance(source, dict) else None
    wanted = (str(report.parameters.get("trigger", "manual")), report.branch, number)
    return next(
        (
            run
            for run in earlier
            if (run.trigger, run.branch, run.pull_request) == wanted and run.started_at < report.started_at
        ),
        None,
    )


def about_silence(last: datetime | None, now: datetime, *, stale_after_hours: float) -> Message | None:
    """Say that the schedule ran nothing for too long; None if it did, or never ran anything yet."""
    if last is None or now - last <= timedelta(hours=stale_after_hours):
        return None
    hours = (now - last) / timedelta(hours=1)
    return Message(
        title=f"kvsync-ci: no scheduled run for {hours:.0f} hours",
        body=(
            f"The last one started at {last:%Y-%m-%d %H:%M} UTC; "
            f"at most {stale_after_hours:g} hours are right. "
            "Is kvsync-ci serve running, and is the schedule active?"
        ),
    )


def send(message: Message, urls: SecretStr) -> str:
    """Send a message to everyone; returns what went wrong, "" for nothing. Never says a URL."""
    # Imported here: it takes long, and most runs have nothing to tell.
    import apprise

    # It logs addresses with all that is in them.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    services = apprise.Apprise()
    understood = services.add(urls.get_secret_value())
    if not len(services):
        return "no URL in KVSYNC_CI_NOTIFY_URLS is one that apprise understands"
    sent = services.notify(
        title=message.title,
        body=message.body,
        notify_type=apprise.NotifyType.FAILURE,
        body_format=apprise.NotifyFormat.TEXT,
    )
    if not sent:
        return "a service of KVSYNC_CI_NOTIFY_URLS did not take the notification"
    return "" if understood else "apprise does not understand every URL in KVSYNC_CI_NOTIFY_URLS"


def _line(text: str) -> str:
    return " ".join(text.split())[:120]
