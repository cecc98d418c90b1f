"""What GitLab sends: https://docs.gitlab.com/user/project/integrations/webhook_events.

The proof is the secret itself in X-Gitlab-Token, or, for a secret that begins with `whsec_`, GitLab's signing
token: HMAC-SHA256 of `ID.TIMESTAMP.BODY` in `webhook-signature`, as https://www.standardwebhooks.com has it.
With a signing token nothing else is believed. What a push touches is not known: at most twenty commits are
listed, and whether it was forced is not said.
"""

import base64
import hashlib
import hmac

from starlette.datastructures import Headers

from deployments.webhook.dialects.dialect import Dialect, is_once
from deployments.webhook.dialects.gitlab_payload import MergeRequestHook, NoteHook, PushHook
from deployments.webhook.payload import (
    Account,
    Comment,
    HeadCommit,
    Issue,
    IssueComment,
    PullRequest,
    Push,
    validated,
)

SIGNING = "whsec_"
TOLERANCE_S = 300.0
"""How old a signed delivery may be, and how far clocks may differ."""

ACTIONS = {"open": "opened", "reopen": "reopened", "close": "closed", "merge": "closed"}


def key_of(secret: str) -> bytes | None:
    """Return the key of a signing token, None for what is not one."""
    try:
        return base64.b64decode(secret.removeprefix(SIGNING), validate=True) or None
    except ValueError:
        return None


def _is_signed(headers: Headers, body: bytes, secret: str, now: float) -> bool:
    if not secret.startswith(SIGNING):
        return is_once(headers, "x-gitlab-token", secret)
    key = key_of(secret)
    match headers.getlist("webhook-id"), headers.getlist("webhook-timestamp"):
        case [name], [at] if key and at.isascii() and at.isdecimal() and len(at) < 12:
            said = b".".join((name.encode("latin-1"), at.encode(), body))
            digest = base64.b64encode(hmac.new(key, said, hashlib.sha256).digest())
            is_fresh = abs(now - int(at)) <= TOLERANCE_S
            return is_fresh and is_once(headers, "webhook-signature", f"v1,{digest.decode()}")
    return False


def _push(body: bytes) -> Push:
    hook = validated(PushHook, "push", body)
    last = next((each for each in hook.commits if each.id == hook.after), None)
    return Push(
        repository=hook.project.repository("push"),
        sender=Account(login=hook.user_username),
        ref=hook.ref,
        after=hook.after,
        before=hook.before,
        head_commit=HeadCommit(message=last.message) if last else None,
    )


def _merge_request(body: bytes) -> PullRequest:
    hook = validated(MergeRequestHook, "merge_request", body)
    found, repository = hook.object_attributes, hook.project.repository("merge_request")
    draft = hook.changes.draft if hook.changes else None
    action = ACTIONS.get(found.action, found.action)
    if action == "update" and found.oldrev:
        action = "synchronize"
    elif action == "update" and draft and draft.previous and not draft.current:
        action = "ready_for_review"
    return PullRequest(
        repository=repository,
        sender=hook.user.account,
        action=action,
        number=found.iid,
        pull_request=found.proposal(hook.project, repository, hook.user),
    )


def _note(body: bytes) -> IssueComment:
    hook = validated(NoteHook, "note", body)
    note, found, repository = hook.object_attributes, hook.merge_request, hook.project.repository("note")
    is_theirs = hook.user.id and note.author_id in (0, hook.user.id) and not note.system
    return IssueComment(
        repository=repository,
        sender=hook.user.account,
        action="created" if note.action == "create" else note.action,
        issue=Issue(
            number=found.iid if found else 1,
            state="open" if found and found.state == "opened" else "closed",
            pull_request={} if found and note.noteable_type == "MergeRequest" else None,
        ),
        comment=Comment(
            id=note.id,
            body=note.note,
            user=hook.user.account if is_theirs else Account(login="", type="Bot"),
            created_at=note.created_at,
        ),
        pull_request=found.proposal(hook.project, repository, hook.user) if found else None,
    )


GITLAB = Dialect(
    marks=("X-Gitlab-Event",),
    ids=("webhook-id", "Idempotency-Key", "X-Gitlab-Webhook-UUID"),
    is_signed=_is_signed,
    proof="X-Gitlab-Token is not our secret, or webhook-signature does not match body, time and our secret",
    events={
        "Push Hook": ("push", _push),
        "Tag Push Hook": ("push", _push),
        "Merge Request Hook": ("pull_request", _merge_request),
        "Note Hook": ("issue_comment", _note),
    },
    prefix="gitlab-",
)
