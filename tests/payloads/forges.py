"""Deliveries of Gitea, Forgejo and GitLab, in the shapes that their documentation gives."""

import hashlib
import hmac
import json
from typing import Any

COMMIT = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
FORK_COMMIT = "ec26c3e57ca3a959ca5aad62de7213c562f8c821"
BEFORE = "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"
HOST = "git.example.org"
ANN, GUEST = "ann", "guest"

Document = dict[str, Any]


def gitea_headers(
    event: str, body: bytes, delivery: str, secret: str, family: str = "Gitea"
) -> dict[str, str]:
    """What Gitea sends along; Forgejo sends all of it, and its own besides."""
    plain = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    families = ["Gitea", "Gogs"] + (["Forgejo"] if family == "Forgejo" else [])
    return {
        "Content-Type": "application/json",
        **{f"X-{each}-Delivery": delivery for each in families},
        **{f"X-{each}-Event": event for each in families},
        **{f"X-{each}-Signature": plain for each in families},
        "X-Hub-Signature-256": f"sha256={plain}",
        "X-GitHub-Delivery": delivery,
        "X-GitHub-Event": event,
    }


def gitlab_headers(event: str, delivery: str, secret: str) -> dict[str, str]:
    """What GitLab sends along, with the secret token of a hook."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "GitLab/18.2.0",
        "Idempotency-Key": delivery,
        "X-Gitlab-Event": event,
        "X-Gitlab-Webhook-UUID": "3c5c0404-c866-44bc-a5f6-452bb1bfc76e",
        "X-Gitlab-Instance": f"https://{HOST}",
        "X-Gitlab-Event-UUID": "9cebe914-4827-408f-b014-cfa23a47a35f",
        "X-Gitlab-Token": secret,
    }


def changed(document: Document, changes: dict[str, object]) -> Document:
    """A document with other values; they are named by path: `pull_request__draft`."""
    document = json.loads(json.dumps(document))
    for path, value in changes.items():
        *folders, last = path.split("__")
        place = document
        for folder in folders:
            place = place[folder]
        place[last] = value
    return document


def _gitea_user(name: str) -> Document:
    return {"id": len(name), "login": name, "username": name, "full_name": "", "email": f"{name}@example.org"}


def _gitea_repository(owner: str = "team", host: str = HOST) -> Document:
    page = f"https://{host}/{owner}/shop"
    return {
        "id": 140,
        "owner": _gitea_user(owner),
        "name": "shop",
        "full_name": f"{owner}/shop",
        "fork": owner != "team",
        "html_url": page,
        "ssh_url": f"ssh://git@{host}:2222/{owner}/shop.git",
        "clone_url": f"{page}.git",
        "default_branch": "main",
    }


def _gitea_commit() -> Document:
    return {
        "id": COMMIT,
        "message": "cart: count once\n",
        "url": f"https://{HOST}/team/shop/commit/{COMMIT}",
        "author": {"name": "Ann", "email": "ann@example.org", "username": ANN},
        "timestamp": "2026-11-20T10:58:05+01:00",
        "added": [],
        "removed": [],
        "modified": ["docs/cart.md"],
    }


def gitea_push(**changes: object) -> Document:
    """A push of which Gitea lists one commit of thirty."""
    document = {
        "ref": "refs/heads/main",
        "before": BEFORE,
        "after": COMMIT,
        "compare_url": "",
        "commits": [_gitea_commit()],
        "total_commits": 30,
        "head_commit": _gitea_commit(),
        "repository": _gitea_repository(),
        "pusher": _gitea_user(ANN),
        "sender": _gitea_user(ANN),
    }
    return changed(document, changes)


def _gitea_proposal(owner: str, commit: str) -> Document:
    return {
        "id": 12,
        "number": 7,
        "user": _gitea_user(ANN if owner == "team" else owner),
        "title": "Count once",
        "state": "open",
        "draft": False,
        "base": {"label": "main", "ref": "main", "sha": BEFORE, "repo": _gitea_repository()},
        "head": {"label": "count", "ref": "count", "sha": commit, "repo": _gitea_repository(owner)},
        "updated_at": "2026-11-20T10:00:00Z",
    }


def gitea_pull_request(owner: str = "team", commit: str = COMMIT, /, **changes: object) -> Document:
    """New commits of a pull request, from a branch of the repository of an owner."""
    document = {
        "action": "synchronized",
        "number": 7,
        "pull_request": _gitea_proposal(owner, commit),
        "requested_reviewer": None,
        "repository": _gitea_repository(),
        "sender": _gitea_user(ANN if owner == "team" else owner),
        "commit_id": "",
        "review": None,
    }
    return changed(document, changes)


def gitea_comment(text: str, owner: str = "team", commit: str = COMMIT, /, **changes: object) -> Document:
    """A comment of Ann's on the pull request."""
    document = {
        "action": "created",
        "issue": {
            "id": 12,
            "number": 7,
            "state": "open",
            "pull_request": {"merged": False, "merged_at": None},
        },
        "pull_request": _gitea_proposal(owner, commit),
        "comment": {
            "id": 99,
            "user": _gitea_user(ANN),
            "body": text,
            "created_at": "2026-11-20T10:05:00Z",
        },
        "repository": _gitea_repository(),
        "sender": _gitea_user(ANN),
        "is_pull": True,
    }
    return changed(document, changes)


def _project(path: str = "team/shop", number: int = 15) -> Document:
    page = f"https://{HOST}/{path}"
    return {
        "id": number,
        "name": "shop",
        "web_url": page,
        "git_ssh_url": f"git@{HOST}:{path}.git",
        "git_http_url": f"{page}.git",
        "namespace": "team",
        "visibility_level": 0,
        "path_with_namespace": path,
        "default_branch": "main",
        "url": f"git@{HOST}:{path}.git",
    }


def _gitlab_user(name: str) -> Document:
    return {"id": len(name), "name": name.title(), "username": name, "email": "[REDACTED]"}


def gitlab_push(**changes: object) -> Document:
    """A push to main."""
    commit = {"id": COMMIT, "message": "cart: count once\n", "timestamp": "2026-11-20T10:58:05+01:00"}
    files: Document = {"added": [], "removed": [], "modified": ["docs/cart.md"]}
    document = {
        "object_kind": "push",
        "event_name": "push",
        "before": BEFORE,
        "after": COMMIT,
        "ref": "refs/heads/main",
        "ref_protected": True,
        "checkout_sha": COMMIT,
        "user_id": len(ANN),
        "user_name": "Ann",
        "user_username": ANN,
        "project_id": 15,
        "project": _project(),
        "commits": [{**commit, **files}],
        "total_commits_count": 30,
    }
    return changed(document, changes)


def _merge_request(path: str, commit: str) -> Document:
    is_own = path == "team/shop"
    return {
        "id": 99,
        "iid": 7,
        "target_branch": "main",
        "source_branch": "count",
        "source_project_id": 15 if is_own else 16,
        "target_project_id": 15,
        "author_id": len(ANN if is_own else GUEST),
        "title": "Count once",
        "created_at": "2026-11-20 09:00:00 UTC",
        "updated_at": "2026-11-20 10:00:00 UTC",
        "state": "opened",
        "draft": False,
        "work_in_progress": False,
        "source": _project(path, 15 if is_own else 16),
        "target": _project(),
        "last_commit": {
            "id": commit,
            "message": "cart: count once",
            "timestamp": "2026-11-20T10:58:05+01:00",
        },
    }


def gitlab_merge_request(path: str = "team/shop", commit: str = COMMIT, /, **changes: object) -> Document:
    """New commits of a merge request, from a branch of the project at a path."""
    document = {
        "object_kind": "merge_request",
        "event_type": "merge_request",
        "user": _gitlab_user(ANN if path == "team/shop" else GUEST),
        "project": _project(),
        "object_attributes": {**_merge_request(path, commit), "action": "update", "oldrev": BEFORE},
        "labels": [],
        "changes": {
            "updated_at": {"previous": "2026-11-20 09:00:00 UTC", "current": "2026-11-20 10:00:00 UTC"}
        },
    }
    return changed(document, changes)


def gitlab_note(text: str, path: str = "team/shop", commit: str = COMMIT, /, **changes: object) -> Document:
    """A comment of Ann's on the merge request."""
    document = {
        "object_kind": "note",
        "event_type": "note",
        "user": _gitlab_user(ANN),
        "project_id": 15,
        "project": _project(),
        "object_attributes": {
            "id": 1244,
            "note": text,
            "noteable_type": "MergeRequest",
            "author_id": len(ANN),
            "created_at": "2026-11-20 10:05:00 UTC",
            "project_id": 15,
            "noteable_id": 99,
            "system": False,
            "action": "create",
        },
        "merge_request": _merge_request(path, commit),
    }
    return changed(document, changes)
