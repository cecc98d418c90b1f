"""Whether the store and GitHub, to which a run's report is sent, answer. A run can start without them."""

from collections.abc import Iterator

from kvsync.ci.doctor.findings import Finding, ok, unavailable
from kvsync.ci.errors import StoreError
from kvsync.ci.notify.github import GitHub, NotSent
from kvsync.ci.settings import GitHubSettings, Settings, StoreSettings
from kvsync.ci.store.opening import open_store

PATIENCE_S = 5.0


def services(settings: Settings) -> Iterator[Finding]:
    """Ask each one that is configured a small question; nothing is written there."""
    if settings.store.url:
        yield store(settings.store)
    if settings.github.token.get_secret_value():
        yield github(settings.github)


def store(settings: StoreSettings) -> Finding:
    """See whether stored reports can be listed, which takes an address, a login and a bucket."""
    try:
        opened = open_store(settings)
        if opened:
            opened.list(f"{settings.project}/doctor/")
    except StoreError as exc:
        return unavailable("report store", f"{exc}; until then reports stay in the report folder")
    return ok("report store", f"{settings.url} answers")


def github(settings: GitHubSettings) -> Finding:
    """See whether GitHub knows the token."""
    try:
        with GitHub(settings, patience_s=PATIENCE_S) as client:
            owner = client.owner()
    except NotSent as exc:
        return unavailable("GitHub", f"{exc}; until then no results go there")
    return ok("GitHub", f"{settings.api_url} knows the token, which is {owner or 'an app'}'s")
