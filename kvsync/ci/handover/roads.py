"""The road of a report after the last stage: archive, store, view, people, GitHub, page of all runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from kvsync.ci.handover.archiving import archive
from kvsync.ci.handover.github import tell_github, tell_github_briefly
from kvsync.ci.handover.handover import Handover, HandoverStep, Log
from kvsync.ci.handover.people import leave_people, tell_people
from kvsync.ci.handover.site import renew_site
from kvsync.ci.handover.storing import store, store_at_last


def show(handover: Handover, _: Log) -> Handover:
    """Show the report, with its link."""
    handover.show(handover)
    return handover


ARCHIVE = HandoverStep(name="archive", act=archive, vital=True)
"""Vital, since it writes the page."""

UPLOAD = HandoverStep(name="upload", act=store, retries=2, wanted=lambda run: bool(run.settings.store.url))
SHOW = HandoverStep(name="artifacts", act=show, vital=True)
PEOPLE = HandoverStep(name="notify", act=tell_people, wanted=lambda run: bool(run.settings.notify.urls))
GITHUB = HandoverStep(name="github", act=tell_github, wanted=lambda run: bool(run.settings.github.token))
SITE = HandoverStep(name="site", act=renew_site)
"""Last, since who waits for a verdict does not wait for the page of all runs."""

BRIEFLY = replace(GITHUB, act=tell_github_briefly)

Road = Literal["full", "quiet", "again", "last seconds"]

ROADS: Mapping[Road, Sequence[HandoverStep]] = {
    "full": (ARCHIVE, UPLOAD, SHOW, PEOPLE, GITHUB, SITE),
    # Those who ended the run themselves need no notification.
    "quiet": (ARCHIVE, UPLOAD, SHOW, GITHUB, SITE),
    # For what GitHub did not take: one run among many, so that it may not take long.
    "again": (ARCHIVE, UPLOAD, SHOW, BRIEFLY),
    # An interrupted run is killed soon; its guardian or its command then takes another road.
    "last seconds": (
        ARCHIVE,
        replace(UPLOAD, act=store_at_last, retries=0),
        SHOW,
        replace(PEOPLE, name="notify later", act=leave_people),
        BRIEFLY,
    ),
}
