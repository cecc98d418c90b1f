"""What GitLab's payloads say: https://docs.gitlab.com/user/project/integrations/webhook_events."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from deployments.webhook.dialects.dialect import named_by
from deployments.webhook.payload import (
    Account,
    Base,
    Head,
    HeadRepository,
    Proposal,
    Repository,
)


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


Time = Annotated[
    AwareDatetime, BeforeValidator(lambda text: text.replace(" UTC", "Z") if isinstance(text, str) else text)
]


class GitLabProject(_Value):
    """A project, which is a repository."""

    id: int
    web_url: str
    git_http_url: str
    git_ssh_url: str = ""
    default_branch: str | None = None

    def repository(self, kind: str) -> Repository:
        """Return it as a repository. Raises DecodeError for an address that is none."""
        return Repository(
            full_name=named_by(self.git_http_url, kind),
            html_url=self.web_url,
            clone_url=self.git_http_url,
            ssh_url=self.git_ssh_url,
            default_branch=self.default_branch or "",
        )


class GitLabUser(_Value):
    """Who did it."""

    id: int = 0
    username: str = ""

    @property
    def account(self) -> Account:
        """The same as an account."""
        return Account(login=self.username)


class GitLabCommit(_Value):
    """A commit."""

    id: str
    message: str = ""


class PushHook(_Value):
    """A branch or tag was pushed."""

    ref: str
    after: str
    before: str = ""
    user_username: str = ""
    project: GitLabProject
    commits: tuple[GitLabCommit, ...] = ()


class SourceProject(_Value):
    """The project that has the branch of a merge request."""

    path_with_namespace: str


class MergeRequest(_Value):
    """A merge request as it stands."""

    iid: Annotated[int, Field(gt=0)]
    state: str = "opened"
    title: str = ""
    draft: bool = False
    author_id: int = 0
    source_branch: str
    target_branch: str
    source_project_id: int | None = None
    target_project_id: int
    source: SourceProject | None = None
    last_commit: GitLabCommit
    updated_at: Time | None = None

    def proposal(self, project: GitLabProject, repository: Repository, by: GitLabUser) -> Proposal:
        """Return it as a pull request of the project; its author is known only if they did this."""
        is_own = self.source_project_id == self.target_project_id == project.id
        name = repository.full_name if is_own else self.source and self.source.path_with_namespace
        repo = HeadRepository(full_name=name) if name else None
        return Proposal(
            head=Head(sha=self.last_commit.id, ref=self.source_branch, repo=repo),
            base=Base(ref=self.target_branch),
            title=self.title,
            draft=self.draft,
            user=by.account if by.id and by.id == self.author_id else None,
            updated_at=self.updated_at,
        )


class ChangedMergeRequest(MergeRequest):
    """What happened to a merge request: `oldrev` is there if it has other commits than before."""

    action: str = ""
    oldrev: str | None = None


class _Change(_Value):
    previous: bool | None = None
    current: bool | None = None


class _Changes(_Value):
    draft: _Change | None = None


class MergeRequestHook(_Value):
    """Something happened to a merge request."""

    user: GitLabUser
    project: GitLabProject
    object_attributes: ChangedMergeRequest
    changes: _Changes | None = None


class GitLabNote(_Value):
    """A comment."""

    id: int = 0
    note: str
    noteable_type: str = ""
    author_id: int = 0
    action: str = "create"
    system: bool = False
    created_at: Time | None = None


class NoteHook(_Value):
    """Somebody commented on something."""

    user: GitLabUser
    project: GitLabProject
    object_attributes: GitLabNote
    merge_request: MergeRequest | None = None
