"""What a delivery leads to. Pure: an event and the settings in, a value out.

- Repositories, branches, and the actors of comments have to be allowed by name.
- Code is fetched from the repository that received the event. Servers keep the commits of its pull requests
  there too, so the URL of a fork is never used.
- A fork is never trusted, no matter who asks for its run: no secrets, no cluster.
- And it waits for a yes to each of its commits (`webhook.forks`), unless the settings trust its author.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Literal

from pathspec import GitIgnoreSpec
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from deployments.webhook.comment import COMMANDS, command, unknown_command
from deployments.webhook.known import KnownRepository, is_among, known_repository
from deployments.webhook.payload import (
    IssueComment,
    MergeGroup,
    Proposal,
    PullRequest,
    Push,
    WebhookEvent,
    WorkflowDispatch,
)
from kvsync.ci.run.parameters import FULL_HASH, CommitSource, Parameters
from kvsync.ci.settings import Settings, WebhookSettings
from kvsync.ci.stages.stage import LOCAL
from kvsync.errors import ConfigError

TRUNCATED_AT = 20
"""With this many commits, GitHub may have left some out, and what they touch is not known."""
MAX_FILES = 3000
"""More files are not matched against patterns: a push is answered within a second, and GitHub does not list
more of a pull request."""
MAX_REASON = 300
MAX_SAID = 200

SKIP_CI = re.compile(r"\[(skip ci|ci skip|no ci|skip actions|actions skip)\]")
"""As GitHub's own runners understand it."""

BRANCH_OR_TAG = re.compile(r"refs/(heads|tags)/[^\s-][^\s\x00-\x1f]*")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ask(_Value):
    """Asks GitHub for a commit that the payload does not name: the head of a pull request, or of `ref`."""

    url: str
    repository: str
    pull_request: int | None = None
    ref: Annotated[str, Field(max_length=255)] = ""


class Approval(_Value):
    """The yes of a person: `is_actor` if the settings let them say it, else GitHub is asked.

    `commit` is what they named, "" for the head that they saw.
    """

    by: str
    is_actor: bool
    commit: str = ""


class Said(_Value):
    """What a person said in a comment, to be answered if it comes to nothing."""

    comment: int
    by: str
    text: Annotated[str, Field(max_length=MAX_SAID)]


class Start(_Value):
    """A run to start. `asked` are the fields of Parameters that the delivery sets.

    `pull_request` is owner/name#number, `at` the server's time of the event; with `supersedes`, older runs of
    the pull request on other commits are cancelled. A fork's commit waits, unless it is `vouched` for: the
    settings trust the author and the sender. `said` is the command of a comment. `pushed_over` is the commit
    that a pushed branch was at before: two deliveries that lead to the same start are of one push.
    """

    kind: Literal["start"] = "start"
    deployment: Literal["commit", "pull-request", "adhoc"]
    asked: dict[str, JsonValue]
    source: CommitSource | Ask
    pull_request: str = ""
    at: AwareDatetime | None = None
    supersedes: bool = False
    vouched: bool = False
    approval: Approval | None = None
    said: Said | None = None
    pushed_over: str = ""

    @property
    def tags(self) -> list[str]:
        """What the flow run can be found by."""
        return [f"trigger:{self.asked['trigger']}", *([tag(self.pull_request)] if self.pull_request else [])]


class Cancel(_Value):
    """Cancels the runs of a pull request, which was closed."""

    kind: Literal["cancel"] = "cancel"
    pull_request: str
    at: AwareDatetime | None = None
    supersedes: Literal[True] = True


class CommandAnswer(_Value):
    """Tells a person at GitHub why a command came to nothing."""

    kind: Literal["answer"] = "answer"
    repository: str
    number: int
    said: Said
    text: str
    pull_request: str = ""
    at: AwareDatetime | None = None
    supersedes: Literal[False] = False


class Ignore(_Value):
    """Nothing is to be done, and why; a person who gave a command is told."""

    reason: str
    answer: CommandAnswer | None = None


Work = Start | Cancel | CommandAnswer
WORK: TypeAdapter[Work] = TypeAdapter(Annotated[Work, Field(discriminator="kind")])


def tag(pull_request: str) -> str:
    """Return the tag of the flow runs of a pull request."""
    return f"pr:{pull_request}"


def decide(event: WebhookEvent, settings: Settings) -> Work | Ignore:
    """Decide what an event leads to."""
    known = known_repository(event.repository, settings)
    if isinstance(known, str):
        return _ignore(known)
    try:
        match event:
            case Push():
                return _push(event, known, settings.webhook)
            case PullRequest():
                return _pull_request(event, known, settings.webhook)
            case IssueComment():
                return _comment(event, known, settings.webhook)
            case WorkflowDispatch():
                return _dispatch(event, known)
            case MergeGroup():
                return _merge_group(event, known)
    except ConfigError as exc:
        return _ignore("; ".join(exc.problems))
    except ValidationError as exc:
        return _ignore("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors()))


def place_of(event: WebhookEvent, settings: Settings) -> tuple[str, str] | None:
    """Return the place that an event is about and the commit that it is at, None if it names none of ours."""
    known = known_repository(event.repository, settings)
    if isinstance(known, str):
        return None
    name = known.name
    match event:
        case Push():
            return f"{name} {event.ref}", event.after
        case PullRequest():
            return f"{name}#{event.number}", event.pull_request.head.sha
        case MergeGroup():
            return f"{name}@{event.merge_group.head_sha}", event.merge_group.head_sha
    return None


@lru_cache(maxsize=8)
def path_filter(patterns: tuple[str, ...]) -> GitIgnoreSpec:
    """Compile `webhook.ignored_paths`. Raises ConfigError for an invalid pattern."""
    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as exc:
        raise ConfigError("configuration of the pipeline", [f"webhook.ignored_paths: {exc}"]) from exc


def request(start: Start, source: CommitSource, defaults: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the parameters of the run: the deployment's, overridden by what the delivery sets.

    An untrusted source is confined here, whatever the deployment says; the flow leaves out its stages that
    need a cluster. Raises ConfigError with every
    problem.
    """
    ours: dict[str, JsonValue] = {**start.asked, "source": source.model_dump(mode="json")}
    if not source.trusted:
        ours |= {"cluster": LOCAL, "reuse": ""}
    Parameters.checked(**ours)
    return {**defaults, **ours}


def mismatch(approval: Approval, head: str, seen: str) -> str:
    """Return why a yes is not to the commit `head`, "" if it is.

    `seen` is the head that was known before the comment was made, "" if none was.
    """
    meant = approval.commit or seen
    if not meant:
        return "no commit was known when the comment was made; /ok-to-test has to name it"
    return "" if meant == head else f"the yes was to {meant}, and the head is {head}"


def _push(push: Push, known: KnownRepository, settings: WebhookSettings) -> Work | Ignore:
    kind, _, branch = push.ref.removeprefix("refs/").partition("/")
    if push.deleted or not push.after.strip("0"):
        return _ignore(f"{push.ref} was deleted")
    if kind != "heads" or branch not in known.branches:
        where = "webhook.branches" if known.answered else "its [repositories.NAME]"
        return _ignore(f"{push.ref} is not a branch in {where}")
    if _touches_only(push, settings.ignored_paths):
        return _ignore("it touches nothing but webhook.ignored_paths")
    if settings.skip_ci and push.head_commit and SKIP_CI.search(push.head_commit.message):
        return _ignore("the message of its last commit says to skip CI")
    source = _source(known, commit=push.after, ref=branch, author=push.sender.login)
    follows = {"follows": known.branches[branch]} if known.branches[branch] else {}
    asked: dict[str, JsonValue] = {"trigger": "push", **follows}
    return Start(deployment="commit", asked=asked, source=source, pushed_over=push.before)


def _touches_only(push: Push, patterns: tuple[str, ...]) -> bool:
    """Whether every file is ignored; False if the payload may not list all of them."""
    if push.forced or len(push.commits) >= TRUNCATED_AT:
        return False
    commits = push.commits
    return are_ignored(
        (file for each in commits for file in (*each.added, *each.removed, *each.modified)), patterns
    )


def are_ignored(files: Iterable[str], patterns: tuple[str, ...]) -> bool:
    """Whether all of these files match `webhook.ignored_paths`; False for none, or too many to tell."""
    ignored, count = path_filter(patterns), 0
    for count, file in enumerate(files, 1):
        if count == MAX_FILES or not ignored.match_file(file):
            return False
    return count > 0


def _pull_request(event: PullRequest, known: KnownRepository, settings: WebhookSettings) -> Work | Ignore:
    key, at = f"{known.name}#{event.number}", event.pull_request.updated_at
    if event.action == "closed":
        return Cancel(pull_request=key, at=at)
    news = ("opened", "synchronize", "reopened", *(["ready_for_review"] if settings.drafts == "skip" else []))
    if event.action not in news:
        return _ignore(f"a pull request {event.action} brings no new commit")
    if settings.drafts == "skip" and event.pull_request.draft:
        return _ignore("it is a draft, and webhook.drafts = skip")
    if settings.skip_ci and SKIP_CI.search(event.pull_request.title):
        return _ignore("its title says to skip CI")
    source = _proposed(event.pull_request, event, event.number, known)
    if not source.trusted and settings.forks == "never":
        return _ignore("it is a fork's, and webhook.forks = never")
    believed = (*known.trusted_authors, *known.actors)
    author = event.pull_request.user
    return Start(
        deployment="pull-request",
        asked={"trigger": "pull-request"},
        source=source,
        pull_request=key,
        at=at,
        supersedes=True,
        # Others may push to the branch of an author's fork, too.
        vouched=author is not None and all(is_among(each.login, believed) for each in (author, event.sender)),
    )


def _proposed(
    proposal: Proposal, event: PullRequest | IssueComment, number: int, known: KnownRepository
) -> CommitSource:
    """Return the head of a pull request; its base is named if it is not the repository's own branch."""
    head, base, author = proposal.head, proposal.base, proposal.user
    return _source(
        known,
        commit=head.sha,
        ref=head.ref,
        author=author.login if author else "",
        pull_request=number,
        trusted=head.repo is not None and head.repo.full_name == event.repository.full_name,
        base=base.ref if base and base.ref != event.repository.default_branch else "",
    )


def _merge_group(event: MergeGroup, known: KnownRepository) -> Work | Ignore:
    """A queue's commit needs the statuses that its pull requests needed, or the queue waits for ever."""
    group = event.merge_group
    key, base = f"{known.name}@{group.head_sha}", group.base_ref.removeprefix("refs/heads/")
    if event.action == "destroyed":
        return Cancel(pull_request=key)
    if event.action != "checks_requested":
        return _ignore(f"a merge group {event.action} asks for nothing")
    ref = group.head_ref.removeprefix("refs/heads/")
    source = _source(known, commit=group.head_sha, ref=ref, base=base)
    asked: dict[str, JsonValue] = {"trigger": "merge-queue"}
    return Start(deployment="pull-request", asked=asked, source=source, pull_request=key)


def _comment(event: IssueComment, known: KnownRepository, settings: WebhookSettings) -> Work | Ignore:
    body, author = event.comment.body, event.comment.user
    found = command(body) if event.action == "created" else None
    unknown = "" if found or event.action != "created" else unknown_command(body, settings.other_commands)
    is_person = event.sender == author and author.type == "User"
    is_open = event.issue.pull_request is not None and event.issue.state == "open"
    if not found:
        why = _ignore("the comment is not a new command")
        text = f"/{unknown} is not a command here; there are {_listed_commands()}"
        return _answered(why, event, known, text) if unknown and is_person and is_open else why
    if not is_open:
        return _ignore("commands are for open pull requests")
    if not is_person:
        return _ignore(_no_actor(event, known))
    try:
        work = _commanded(event, *found, known, settings)
    except ConfigError as exc:
        work = _ignore("; ".join(exc.problems))
    return _answered(work, event, known, work.reason) if isinstance(work, Ignore) else work


def _no_actor(event: IssueComment, known: KnownRepository) -> str:
    where = "webhook.actors" if known.answered else "the actors of its [repositories.NAME]"
    return f"{event.sender.login} is not in {where}"


def _commanded(
    event: IssueComment, word: str, words: Sequence[str], known: KnownRepository, settings: WebhookSettings
) -> Work | Ignore:
    """Decide what a person's command leads to. Raises ConfigError."""
    is_actor = is_among(event.sender.login, known.actors)
    if not (is_actor or (word == "ok-to-test" and known.answered)):  # GitHub is asked who may write
        return _ignore(_no_actor(event, known))
    approval = _approval(event, words, settings, is_actor=is_actor) if word == "ok-to-test" else None
    if isinstance(approval, Ignore):
        return approval
    asked: dict[str, JsonValue] = {"trigger": "comment"}
    if word == "run":
        if not words:
            return _ignore("stages: /run names at least one, such as /run unit")
        asked["stages"] = list(words)
    return _later(
        "adhoc" if word == "run" else "pull-request",
        asked,
        _head(event, known),
        pull_request=f"{known.name}#{event.issue.number}",
        at=event.comment.created_at,
        approval=approval,
        said=_said(event),
    )


def _head(event: IssueComment, known: KnownRepository) -> Ask | CommitSource:
    """Return the head of the pull request that was commented on. Raises ConfigError if nobody tells it."""
    number = event.issue.number
    if known.answered:
        return Ask(url=known.url, repository=known.answered, pull_request=number)
    if event.pull_request is None:
        raise ConfigError("a comment", ["the delivery does not name the pull request's commit; push again"])
    return _proposed(event.pull_request, event, number, known)


def _answered(why: Ignore, event: IssueComment, known: KnownRepository, text: str) -> Ignore:
    name, number = known.answered, event.issue.number
    if not name:
        return why
    answer = CommandAnswer(repository=name, number=number, said=_said(event), text=_ignore(text).reason)
    return why.model_copy(update={"answer": answer})


def _said(event: IssueComment) -> Said:
    comment = event.comment
    return Said(comment=comment.id, by=comment.user.login, text=comment.body.strip()[:MAX_SAID])


def _listed_commands() -> str:
    return ", ".join(f"/{name}" for name in COMMANDS)


def _approval(
    event: IssueComment, words: Sequence[str], settings: WebhookSettings, *, is_actor: bool
) -> Approval | Ignore:
    if settings.forks != "approve":
        return _ignore(f"webhook.forks = {settings.forks}: there is nothing to approve")
    if event.comment.created_at is None:
        return _ignore("the delivery does not say when the comment was made")
    match words:
        case []:
            return Approval(by=event.comment.user.login, is_actor=is_actor)
        case [commit] if re.fullmatch(FULL_HASH, commit):
            return Approval(by=event.comment.user.login, is_actor=is_actor, commit=commit)
    return _ignore("/ok-to-test stands alone, or with the full hash of a commit")


def _dispatch(event: WorkflowDispatch, known: KnownRepository) -> Work | Ignore:
    if not known.answered:
        return _ignore("its server is not the one in github.web_url, which is asked for the commit")
    if not BRANCH_OR_TAG.fullmatch(event.ref):
        return _ignore("the ref is not a branch or tag")
    asked: dict[str, JsonValue] = {"trigger": "dispatch"}
    inputs = {name: str(text) for name, text in (event.inputs or {}).items() if text}
    if "stages" in inputs:
        asked["stages"] = list(inputs["stages"].replace(",", " ").split())
    if "profile" in inputs:
        asked["profile"] = inputs["profile"]
    ask = Ask(url=known.url, repository=known.answered, ref=event.ref)
    return _later("adhoc", asked, ask)


def _later(
    deployment: Literal["pull-request", "adhoc"],
    asked: dict[str, JsonValue],
    source: Ask | CommitSource,
    *,
    pull_request: str = "",
    at: AwareDatetime | None = None,
    approval: Approval | None = None,
    said: Said | None = None,
) -> Start:
    """Build a start whose commit may be looked up later; the rest of the request is checked now."""
    Parameters.checked(**asked)
    return Start(
        deployment=deployment,
        asked=asked,
        source=source,
        pull_request=pull_request,
        at=at,
        approval=approval,
        said=said,
    )


def _source(known: KnownRepository, **fields: str | int | bool) -> CommitSource:
    return CommitSource.model_validate({"url": known.url, "repository": known.answered, **fields})


def _ignore(reason: str) -> Ignore:
    return Ignore(reason="".join(char if char.isprintable() else "?" for char in reason)[:MAX_REASON])
