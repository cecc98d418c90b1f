"""What Gitea and Forgejo send: GitHub's shapes, with other words in some places.

Read from https://docs.gitea.com/usage/webhooks and the `modules/structs` and `services/webhook` of both. They
sign with X-Gitea-Signature, HMAC-SHA256 in plain hexadecimal digits (Forgejo with X-Forgejo-Signature, too).
They list only the first commits of a push (five by default) and do not say whether it was forced, so what a
push touches is not known.
"""

import re

from pydantic import BaseModel, ConfigDict
from starlette.datastructures import Headers

from deployments.webhook.dialects.dialect import Dialect, is_once, named_by, signature
from deployments.webhook.payload import (
    HeadRepository,
    IssueComment,
    Proposal,
    PullRequest,
    Push,
    Repository,
    validated,
)

DRAFT = re.compile(r"WIP:|\[WIP\]", re.IGNORECASE)
"""How the title of a draft begins; before Gitea 1.23 nothing else says it."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Before(_Value):
    from_: str = ""
    model_config = ConfigDict(alias_generator=lambda name: name.rstrip("_"))


class _Changes(_Value):
    title: _Before | None = None


class _Changed(PullRequest):
    changes: _Changes | None = None


def _is_signed(headers: Headers, body: bytes, secret: str, _: float) -> bool:
    theirs = "x-forgejo-signature" if "x-forgejo-signature" in headers else "x-gitea-signature"
    return is_once(headers, theirs, signature(body, secret))


def _renamed(repository: Repository, kind: str) -> Repository:
    return repository.model_copy(update={"full_name": named_by(repository.clone_url, kind)})


def _push(body: bytes) -> Push:
    push = validated(Push, "push", body)
    return push.model_copy(update={"repository": _renamed(push.repository, "push"), "commits": ()})


def _proposal(proposal: Proposal, before: Repository, after: Repository) -> Proposal:
    """Return it with its own repository, if that is this one, called as this one is."""
    head, repo = proposal.head, proposal.head.repo
    if repo and repo.full_name == before.full_name:
        head = head.model_copy(update={"repo": HeadRepository(full_name=after.full_name)})
    draft = proposal.draft or bool(DRAFT.match(proposal.title))
    return proposal.model_copy(update={"head": head, "draft": draft})


def _pull_request(body: bytes) -> PullRequest:
    event = validated(_Changed, "pull_request", body)
    repository = _renamed(event.repository, "pull_request")
    proposal = _proposal(event.pull_request, event.repository, repository)
    action = {"synchronized": "synchronize"}.get(event.action, event.action)
    title = event.changes.title if event.changes else None
    if action == "edited" and title and DRAFT.match(title.from_) and not proposal.draft:
        action = "ready_for_review"
    return event.model_copy(
        update={"repository": repository, "pull_request": proposal, "action": action, "changes": None}
    )


def _comment(body: bytes) -> IssueComment:
    event = validated(IssueComment, "issue_comment", body)
    repository = _renamed(event.repository, "issue_comment")
    found = event.pull_request
    proposal = _proposal(found, event.repository, repository) if found else None
    return event.model_copy(update={"repository": repository, "pull_request": proposal})


GITEA = Dialect(
    marks=("X-Forgejo-Event", "X-Gitea-Event"),
    ids=("X-Forgejo-Delivery", "X-Gitea-Delivery"),
    is_signed=_is_signed,
    proof="X-Gitea-Signature or X-Forgejo-Signature does not match the body and our secret",
    events={
        "push": ("push", _push),
        "pull_request": ("pull_request", _pull_request),
        "issue_comment": ("issue_comment", _comment),
    },
    prefix="gitea-",
)
