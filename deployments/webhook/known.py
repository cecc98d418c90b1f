"""Which repository of ours an event is about. Pure.

Those of `webhook.repositories` are GitHub's. Those of `[repositories.NAME]` may be on any server: one is
known by its address there, and its code is fetched from what the settings say, never from what an event says.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from deployments.webhook.payload import Repository
from kvsync.ci.revision import address
from kvsync.ci.settings import Settings

REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRepository:
    """A repository whose events count.

    `name`: one among all servers. `url`: where git fetches it from. `answered`: owner/name at GitHub, "" on a
    server that is told nothing. `branches`: whose pushes start a run, with the [repositories.NAME] that
    follows each, or "". `actors` and `trusted_authors`: what people are called on that server.
    """

    name: str
    url: str
    answered: str
    branches: Mapping[str, str]
    actors: tuple[str, ...]
    trusted_authors: tuple[str, ...]


def known_repository(repository: Repository, settings: Settings) -> KnownRepository | str:
    """Return what the settings say of an event's repository, or why it does not count."""
    hook, name = settings.webhook, repository.full_name
    listed = is_among(name, hook.repositories)
    places = {address(url).casefold() for url in (repository.clone_url, repository.ssh_url)} - {""}
    ours = {
        key: each for key, each in settings.repositories.items() if address(each.url).casefold() in places
    }
    if not listed and not ours:
        return f"repository {name} is not in webhook.repositories, nor the url of a [repositories.NAME]"
    plain = is_clone_url(repository)
    if not plain and not ours:
        return f"the clone URL does not belong to {repository.html_url}"
    on_github = plain and (listed or repository.clone_url.startswith(f"{settings.github.web_url}/"))
    actors = tuple(actor for each in ours.values() for actor in each.actors)
    return KnownRepository(
        name=name if on_github else address(repository.clone_url) or name,
        url=next((each.url for each in ours.values()), repository.clone_url),
        answered=name if on_github else "",
        branches=(dict.fromkeys(hook.branches, "") if listed else {})
        | {each.branch: key for key, each in ours.items()},
        actors=actors + (hook.actors if on_github else ()),
        trusted_authors=hook.trusted_authors if on_github else (),
    )


def is_clone_url(repository: Repository) -> bool:
    """Whether the clone URL is the plain HTTPS one of the repository's page: nothing else is fetched."""
    name, page = repository.full_name, repository.html_url
    try:
        host = urlsplit(page).netloc
    except ValueError:
        return False
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?", host) and REPOSITORY.fullmatch(name)
    return bool(plain) and (page, repository.clone_url) == (
        f"https://{host}/{name}",
        f"https://{host}/{name}.git",
    )


def is_among(name: str, allowed: Sequence[str]) -> bool:
    """Whether it is one of these names, ignoring case as GitHub does."""
    return name.casefold() in {each.casefold() for each in allowed}
