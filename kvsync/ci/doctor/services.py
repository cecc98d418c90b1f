"""What a run can start without: the store and GitHub, to which its report goes, and a box for its tests."""

from collections.abc import Iterator

from kvsync.ci.box.ability import NO_BOX, PROGRAM, unable, user_inside
from kvsync.ci.doctor.findings import Finding, missing, ok, unavailable
from kvsync.ci.errors import StoreError
from kvsync.ci.notify.messages import NotSent
from kvsync.ci.settings import BoxSettings, GitHubSettings, Settings, StoreSettings
from kvsync.ci.store.opening import open_store
from kvsync.testing.processes.tools import ON_PATH, Tools

PATIENCE_S = 5.0


def services(settings: Settings) -> Iterator[Finding]:
    """Ask each one that is configured a small question; nothing is written there."""
    yield box(settings.box)
    if settings.store.url:
        yield store(settings.store)
    if settings.github.token.get_secret_value():
        yield github(settings.github)


def box(settings: BoxSettings, tools: Tools = ON_PATH) -> Finding:
    """See whether code can be confined; where it has to be and cannot, it is not run."""
    if settings.kind == "container":
        return ok("box", "the container that the pipeline is in, as KVSYNC_CI_BOX_KIND says")
    confined = {
        "untrusted": "code of forks",
        "pull-requests": "code of pull requests",
        "always": "tested code",
    }[settings.use]
    why, _, mend = unable(user_inside(), tools).removeprefix(NO_BOX).partition("; ")
    if not why:
        return ok("box", f"{confined} runs in one, made by {PROGRAM}")
    judged = missing if settings.use == "always" else unavailable
    return judged("box", f"{why}; {confined} is not run", mend)


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
    from kvsync.ci.notify.github import GitHub  # imported where there is a token: it takes long

    try:
        with GitHub(settings, patience_s=PATIENCE_S) as client:
            owner = client.owner()
    except NotSent as exc:
        return unavailable("GitHub", f"{exc}; until then no results go there")
    return ok("GitHub", f"{settings.api_url} knows the token, which is {owner or 'an app'}'s")
