"""Which deliveries GitHub is asked to send again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from deployments.webhook.hooks import SendingAttempt, undelivered

AT = datetime(2026, 11, 20, 10, tzinfo=UTC)
LOST = SendingAttempt(id=1, guid="a", event="issue_comment", action="created", status=0, at=AT)


@pytest.mark.parametrize("status", [0, 404, 408, 429, 500, 502, 503])
def test_what_no_receiver_read_is_sent_again(status: int) -> None:
    """Nothing answered, a proxy or tunnel did, or the receiver asked for it."""
    assert undelivered([replace(LOST, status=status)]) == [replace(LOST, status=status)]


@pytest.mark.parametrize("status", [200, 202, 400, 401, 413, 415])
def test_what_was_read_is_not(status: int) -> None:
    """Whatever else was tried with the same delivery, before or after."""
    read = replace(LOST, id=2, status=status, at=AT + timedelta(minutes=1))

    assert undelivered([read]) == []
    assert undelivered([LOST, read]) == []
    assert undelivered([read, replace(LOST, id=3, at=AT + timedelta(minutes=2))]) == []


@pytest.mark.parametrize(
    ("event", "action", "again"),
    [
        ("issue_comment", "created", True),
        ("issue_comment", "edited", False),
        ("workflow_dispatch", "", True),
        ("push", "", False),
        ("pull_request", "opened", False),
        ("star", "created", False),
    ],
)
def test_only_what_leaves_no_head(event: str, action: str, again: bool) -> None:
    """Pushes and pull requests are seen in the repository; the rest starts nothing."""
    assert bool(undelivered([replace(LOST, event=event, action=action)])) == again


def test_the_oldest_comes_first_and_no_delivery_for_ever() -> None:
    """Each is named by its last attempt, and three have to be enough."""
    twice = [replace(LOST, guid="b", id=number, at=AT + timedelta(hours=number)) for number in (2, 3)]
    often = [replace(LOST, guid="c", id=number, at=AT - timedelta(hours=number)) for number in (4, 5, 6)]

    assert [each.id for each in undelivered([*twice, *often, LOST])] == [1, 3]
