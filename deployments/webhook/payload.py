"""What happened, in the shapes that GitHub has for it: only the fields that decide something. Pure.

Other servers' words are turned into these (`dialects`). All of it is signed by a server but written by
contributors: treat titles, branches and comments as hostile.
"""

from typing import Annotated, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from kvsync.errors import DecodeError


class _Payload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Repository(_Payload):
    """Where it happened. `full_name` is owner/name at GitHub, host/path elsewhere."""

    full_name: str
    html_url: str
    clone_url: str
    ssh_url: str = ""
    default_branch: str = ""


class Account(_Payload):
    """Who did it; `type` is User, Bot or Organization."""

    login: str
    type: str = "User"


class _Event(_Payload):
    repository: Repository
    sender: Account


class ChangedFiles(_Payload):
    """The files of a pushed commit, as far as the payload lists them."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()


class HeadCommit(_Payload):
    """What the author of a commit wrote about it."""

    message: str = ""


class Push(_Event):
    """A branch or tag was moved from the commit `before`, "" if that is not said, to `after`."""

    ref: str
    after: str
    before: Annotated[str, Field(max_length=64)] = ""
    deleted: bool = False
    forced: bool = False
    commits: tuple[ChangedFiles, ...] = ()
    head_commit: HeadCommit | None = None


class HeadRepository(_Payload):
    """The repository that has the branch of a pull request."""

    full_name: str


class Head(_Payload):
    """The commit that a pull request wants merged; `repo` is None if its fork was deleted."""

    sha: str
    ref: str
    repo: HeadRepository | None = None


class Base(_Payload):
    """The branch that a pull request asks to be merged into."""

    ref: str


class Proposal(_Payload):
    """The pull request as it stood when the event was sent."""

    head: Head
    base: Base | None = None
    title: str = ""
    draft: bool = False
    user: Account | None = None
    updated_at: AwareDatetime | None = None


class PullRequest(_Event):
    """Something happened to a pull request."""

    action: str
    number: Annotated[int, Field(gt=0)]
    pull_request: Proposal


class Comment(_Payload):
    """A comment and its author."""

    id: int = 0
    body: str
    user: Account
    created_at: AwareDatetime | None = None


class Issue(_Payload):
    """What was commented on: an issue, or a pull request if it has `pull_request`."""

    number: Annotated[int, Field(gt=0)]
    state: str = "open"
    pull_request: dict[str, object] | None = None


class IssueComment(_Event):
    """A comment on an issue or a pull request. Only other servers than GitHub say how that one stands."""

    action: str
    issue: Issue
    comment: Comment
    pull_request: Proposal | None = None


class WorkflowDispatch(_Event):
    """A person with write access asks for a run of a branch or tag. It does not name the commit."""

    ref: str
    inputs: dict[str, object] | None = None


class QueuedCommit(_Payload):
    """What a merge queue wants to merge: a commit that holds pull requests, and the branch it goes to."""

    head_sha: str
    head_ref: str
    base_ref: str


class MergeGroup(_Event):
    """A merge queue waits for the statuses of a commit of its own, or has no use for them any more."""

    action: str
    merge_group: QueuedCommit


WebhookEvent = Push | PullRequest | IssueComment | WorkflowDispatch | MergeGroup

EVENTS: dict[str, type[WebhookEvent]] = {
    "push": Push,
    "pull_request": PullRequest,
    "issue_comment": IssueComment,
    "workflow_dispatch": WorkflowDispatch,
    "merge_group": MergeGroup,
}
"""The payload of each value of X-GitHub-Event; other events start nothing."""


def parse(name: str, body: bytes) -> WebhookEvent:
    """Read the body of an event in EVENTS. Raises DecodeError with `reason` json or shape."""
    return validated(EVENTS[name], name, body)


ModelT = TypeVar("ModelT", bound=BaseModel)


def validated(model: type[ModelT], name: str, body: bytes) -> ModelT:
    """Read a body that has to be of this model. Raises DecodeError with `reason` json or shape."""
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        reason = "json" if first["type"] == "json_invalid" else "shape"
        where = ".".join(map(str, first["loc"])) or "body"
        raise DecodeError(reason, f"{name} payload: {where}: {first['msg']}") from exc
