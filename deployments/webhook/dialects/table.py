"""Which dialect a request speaks."""

from starlette.datastructures import Headers

from deployments.webhook.dialects.dialect import Dialect
from deployments.webhook.dialects.gitea import GITEA
from deployments.webhook.dialects.github import GITHUB
from deployments.webhook.dialects.gitlab import GITLAB

DIALECTS = (GITLAB, GITEA, GITHUB)
"""In this order: Gitea and Forgejo send GitHub's headers, too."""


def dialect_of(headers: Headers) -> Dialect:
    """Return the dialect of a request; one without any of their headers is taken for GitHub's."""
    return next((each for each in DIALECTS if each.speaks(headers)), GITHUB)
