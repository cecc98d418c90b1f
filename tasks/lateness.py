"""Whether a scheduled run comes too late to be worth anything: nights without a worker do not pile up.

Prefect keeps every run that was due, and starts all of them when a worker is back. Each deployment says after
how many hours it is too late: when its next run is due. So of those that were missed only the newest runs.
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

_TAG = re.compile(r"late-after:([0-9]+)h")


def late_tag(hours: int) -> str:
    """Return the tag of a deployment, and of its flow runs, that says when they are too late."""
    return f"late-after:{hours}h"


def too_late(due: datetime | None, tags: Collection[str], now: datetime) -> str:
    """Return why a run that was due then is not worth it any more, "" if it is."""
    limits = [timedelta(hours=int(found[1])) for tag in tags if (found := _TAG.fullmatch(tag))]
    if due is None or not limits or now - due < min(limits):
        return ""
    hours, most = (now - due) / timedelta(hours=1), min(limits) / timedelta(hours=1)
    when = f"{due:%Y-%m-%d %H:%M} UTC, {hours:.0f} hours ago"
    return f"skipped: it was due at {when}; after {most:.0f} hours a newer one is"


def current_lateness() -> str:
    """Say the same of the flow run that is going on now."""
    # Imported here, since the catalogue is read by commands that need no Prefect.
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or not run.auto_scheduled:
        return ""
    due = run.expected_start_time
    return too_late(due.astimezone(UTC) if due else None, run.tags, datetime.now(UTC))
