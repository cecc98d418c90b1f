"""A double of GitHub's REST API: statuses, comments, issues, pull requests, who may write, and how to fail.

It speaks real HTTP on loopback, from a thread of its own, and refuses what GitHub refuses: a wrong token,
an unknown repository or commit, a text that is too long, a link that is not a URL. Lists come in pages.
"""

import json
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self, cast

import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kvsync.ci.notify.github_hook_double import FakeHook
from kvsync.testing.processes.wait import wait_for

Json = dict[str, object]

MAX_DESCRIPTION = 140
MAX_BODY = 65_536
MAX_STATUSES = 1000
"""Of one commit and context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedStatus:
    """A status of a commit, as it was posted."""

    repository: str
    commit: str
    context: str
    state: str
    description: str
    target_url: str | None


@dataclass(slots=True, kw_only=True)
class PostedText:
    """An issue, or a comment of the issue or pull request `number`; `edits` counts how often it changed."""

    id: int
    repository: str
    number: int
    author: str
    body: str
    title: str = ""
    labels: Sequence[str] = ()
    state: str = "open"
    edits: int = 0
    reactions: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Failure:
    status: int
    body: Json
    headers: Mapping[str, str]
    on: str
    left: int
    done_before: bool


@dataclass(slots=True)
class _Contents:
    statuses: list[PostedStatus] = field(default_factory=list)
    comments: list[PostedText] = field(default_factory=list)
    issues: list[PostedText] = field(default_factory=list)
    files: dict[tuple[str, int], Sequence[Json]] = field(default_factory=dict)
    pulls: dict[tuple[str, int], Json] = field(default_factory=dict)
    heads: dict[tuple[str, str], str] = field(default_factory=dict)
    permissions: dict[tuple[str, str], str] = field(default_factory=dict)
    hooks: dict[str, list[FakeHook]] = field(default_factory=dict)


class FakeGitHub:
    """Serves while it is entered. `requests` has the method and path of everything that was asked.

    `login` is whose token it is; None for an app's, which may not ask who it is.
    """

    def __init__(
        self,
        *repositories: str,
        token: str,
        login: str | None = "ci",
        page: int | None = None,
        max_statuses: int = MAX_STATUSES,
    ) -> None:
        self.requests: list[str] = []
        self._repositories, self._token, self._login, self._page = repositories, token, login, page
        self._kept, self._max_statuses = _Contents(), max_statuses
        self._ids = iter(range(1, 1_000_000))
        self._failures: list[_Failure] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(self._app(), log_config=None, access_log=False, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="fake github")

    def __enter__(self) -> Self:
        self._thread.start()
        wait_for(lambda: self._server.started, what="the double of GitHub listens", timeout_s=20)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    @property
    def url(self) -> str:
        """The base URL of its API."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def statuses(self) -> Sequence[PostedStatus]:
        """Every status that was posted, in order."""
        return self._kept.statuses

    @property
    def comments(self) -> Sequence[PostedText]:
        """All comments, in order."""
        return self._kept.comments

    @property
    def issues(self) -> Sequence[PostedText]:
        """All issues, in order."""
        return self._kept.issues

    def states(self, commit: str) -> dict[str, str]:
        """Return the newest state of each status of a commit."""
        return {each.context: each.state for each in self.statuses if each.commit == commit}

    def comment(self, repository: str, number: int, body: str, *, author: str = "someone") -> int:
        """Let somebody comment; returns the comment's id."""
        self._add_comment(repository, number, body, author)
        return self._kept.comments[-1].id

    def propose(
        self,
        repository: str,
        number: int,
        commit: str,
        *,
        fork: str | None,
        state: str = "open",
        at: str = "2026-11-20T10:00:00Z",
    ) -> None:
        """Let a pull request have a head, in a fork (owner/name; None for one that was deleted)."""
        head = {"sha": commit, "ref": "topic", "repo": fork and {"full_name": fork}}
        base = {"ref": "main", "repo": {"full_name": repository, "default_branch": "main"}}
        pull = {"number": number, "state": state, "head": head, "base": base, "updated_at": at}
        self._kept.pulls[repository, number] = pull

    def push(self, repository: str, branch: str, commit: str) -> None:
        """Let a branch be at a commit."""
        self._kept.heads[repository, branch] = commit

    def hook(self, repository: str, url: str, secret: str) -> FakeHook:
        """Let a repository have a webhook."""
        hook = FakeHook(id=next(self._ids), url=url, secret=secret)
        self._kept.hooks.setdefault(repository, []).append(hook)
        return hook

    def permit(self, repository: str, login: str, permission: str) -> None:
        """Let somebody "admin", "write" or "read"."""
        self._kept.permissions[repository, login] = permission

    def change(self, repository: str, number: int, files: Mapping[str, str]) -> None:
        """Let a pull request change files; each with the name that it had before, or ""."""
        self._kept.files[repository, number] = [
            {"filename": name, "previous_filename": before or None} for name, before in files.items()
        ]

    def fail(
        self,
        status: int,
        *,
        message: str = "because the test says so",
        headers: Mapping[str, str] | None = None,
        on: str = "",
        times: int = 1_000_000,
        done_before: bool = False,
    ) -> None:
        """Answer requests whose method and path contain `on` so; with `done_before`, carry them out first."""
        self._failures.append(
            _Failure(
                status=status,
                body={"message": message},
                headers=headers or {},
                on=on,
                left=times,
                done_before=done_before,
            )
        )

    def recover(self) -> None:
        """Fail no more."""
        self._failures.clear()

    def _app(self) -> Starlette:
        issues = "/repos/{owner}/{name}/issues"
        return Starlette(
            routes=[
                Route(path, self._answer, methods=["GET", "POST", "PATCH"])
                for path in (
                    "/user",
                    "/repos/{owner}/{name}",
                    "/repos/{owner}/{name}/statuses/{commit}",
                    "/repos/{owner}/{name}/commits/heads/{branch:path}",
                    "/repos/{owner}/{name}/commits/{checked}/status",
                    "/repos/{owner}/{name}/git/matching-refs/heads/{beginning:path}",
                    "/repos/{owner}/{name}/pulls",
                    "/repos/{owner}/{name}/pulls/{pull:int}",
                    "/repos/{owner}/{name}/pulls/{pull:int}/files",
                    "/repos/{owner}/{name}/collaborators/{login}/permission",
                    "/repos/{owner}/{name}/hooks",
                    "/repos/{owner}/{name}/hooks/{hook:int}/deliveries",
                    "/repos/{owner}/{name}/hooks/{hook:int}/deliveries/{attempt:int}/attempts",
                    issues,
                    issues + "/comments/{comment:int}",
                    issues + "/comments/{comment:int}/reactions",
                    issues + "/{number:int}",
                    issues + "/{number:int}/comments",
                )
            ]
        )

    async def _answer(self, request: Request) -> Response:
        asked = f"{request.method} {request.url.path}"
        self.requests.append(asked)
        content = cast("Json", json.loads(await request.body() or b"{}"))
        failure = next((each for each in self._failures if each.on in asked and each.left), None)
        if failure:
            failure.left -= 1
        if failure and not failure.done_before:
            return JSONResponse(failure.body, failure.status, failure.headers)
        answer = self._carry_out(request, content)
        return JSONResponse(failure.body, failure.status, failure.headers) if failure else answer

    def _carry_out(self, request: Request, content: Json) -> Response:
        words = request.path_params
        repository = f"{words.get('owner')}/{words.get('name')}"
        if request.headers.get("Authorization") != f"token {self._token}":
            return _refusal(401, "Bad credentials")
        if request.url.path == "/user":
            if self._login is None:
                return _refusal(403, "Resource not accessible by integration")
            return JSONResponse({"login": self._login, "type": "User", "url": f"{self.url}/user"})
        if repository not in self._repositories:
            return _refusal(404, "Not Found")
        if "/hooks" in request.url.path:
            return self._hooks(request, self._kept.hooks.get(repository, []))
        if "commit" in words:
            return self._post_status(repository, words["commit"], content)
        if "pull" in words or "login" in words:
            return self._known(request, repository)
        if request.url.path.endswith("/pulls") or words.keys() & {"branch", "checked", "beginning"}:
            return self._standing(request, repository)
        if "comment" in words:
            return self._comment(request, words["comment"], content)
        if "number" in words:
            return self._issue(request, repository, words["number"], content)
        if request.url.path.endswith("/issues"):
            return self._issues(request, repository, content)
        page = f"https://github.com/{repository}"
        links = {"url": f"{self.url}/repos/{repository}", "html_url": page, "clone_url": f"{page}.git"}
        return JSONResponse({"full_name": repository, "default_branch": "main", **links})

    def _known(self, request: Request, repository: str) -> Response:
        """Say who may what, and what a pull request is and changes."""
        words = request.path_params
        if "login" in words:
            permission = self._kept.permissions.get((repository, words["login"]), "none")
            return JSONResponse({"permission": permission, "user": {"login": words["login"]}})
        if request.url.path.endswith("/files"):
            return self._listed(request, self._kept.files.get((repository, words["pull"]), []))
        pull = self._kept.pulls.get((repository, words["pull"]))
        return JSONResponse(pull) if pull else _refusal(404, "Not Found")

    def _standing(self, request: Request, repository: str) -> Response:
        """Say how branches, commits and pull requests stand."""
        words, heads = request.path_params, self._kept.heads
        if "branch" in words:
            commit = heads.get((repository, words["branch"]))
            return JSONResponse({"sha": commit}) if commit else _refusal(422, "No commit found")
        if "checked" in words:
            states = self.states(words["checked"])
            return JSONResponse({"statuses": [{"context": name, "state": states[name]} for name in states]})
        if "beginning" in words:
            found = [
                {"ref": f"refs/heads/{branch}", "object": {"sha": commit}}
                for (name, branch), commit in heads.items()
                if name == repository and branch.startswith(words["beginning"])
            ]
            return JSONResponse(found)
        pulls = [pull for (name, _), pull in self._kept.pulls.items() if name == repository]
        pulls = [pull for pull in pulls if pull["state"] == "open"]
        pulls.sort(key=lambda pull: str(pull["updated_at"]), reverse=True)
        return self._listed(request, pulls)

    def _hooks(self, request: Request, hooks: Sequence[FakeHook]) -> Response:
        """List hooks and what they sent, the last one first; send something again after the answer."""
        words = request.path_params
        if "hook" not in words:
            return self._listed(request, [each.to_json() for each in hooks])
        hook = next((each for each in hooks if each.id == words["hook"]), None)
        if not hook or ("attempt" in words and not hook.attempt(words["attempt"])):
            return _refusal(404, "Not Found")
        if "attempt" in words:
            return JSONResponse({}, 202, background=BackgroundTask(hook.send_again, words["attempt"]))
        return self._listed(request, [each.to_json() for each in reversed(hook.attempts)])

    def _post_status(self, repository: str, commit: str, content: Json) -> Response:
        status = PostedStatus(
            repository=repository,
            commit=commit,
            context=str(content["context"]),
            state=str(content["state"]),
            description=str(content["description"]),
            target_url=cast("str | None", content.get("target_url")),
        )
        if set(commit) == {"0"}:
            return _refusal(422, f"No commit found for SHA: {commit}")
        if len(status.description) > MAX_DESCRIPTION:
            return _refusal(422, "description is too long (maximum is 140 characters)")
        if not (status.target_url or "https://").startswith(("http://", "https://")):
            return _refusal(422, "target_url must use http(s) scheme")
        if status.state not in ("pending", "success", "failure", "error"):
            return _refusal(422, "state is not included in the list")
        of_context = [
            each for each in self.statuses if (each.commit, each.context) == (commit, status.context)
        ]
        if len(of_context) >= self._max_statuses:
            return _refusal(
                422,
                "Validation Failed",
                "This SHA and context has reached the maximum number of statuses.",
            )
        self._kept.statuses.append(status)
        return JSONResponse({"state": status.state, "context": status.context}, 201)

    def _issue(self, request: Request, repository: str, number: int, content: Json) -> Response:
        if request.method == "PATCH":
            return self._edit(self._kept.issues, number, content)
        if request.method == "POST":
            return self._add_comment(repository, number, str(content["body"]), self._login or "app[bot]")
        if not request.url.path.endswith(
            "/comments"
        ):  # pull requests are issues too; their content is unknown
            return JSONResponse({"number": number, "url": str(request.url)})
        of_issue = [
            each for each in self._kept.comments if each.repository == repository and each.number == number
        ]
        return self._listed(request, [self._json(each) for each in of_issue])

    def _issues(self, request: Request, repository: str, content: Json) -> Response:
        if request.method == "GET":
            state, label = request.query_params.get("state", "open"), request.query_params.get("labels", "")
            return self._listed(
                request,
                [
                    self._json(each)
                    for each in self._kept.issues
                    if each.repository == repository
                    and each.state == state
                    and (not label or label in each.labels)
                ],
            )
        number = next(self._ids)
        issue = PostedText(
            id=number,
            repository=repository,
            number=number,
            author=self._login or "app[bot]",
            title=str(content["title"]),
            body=str(content["body"]),
            labels=tuple(cast("list[str]", content.get("labels", []))),
        )
        return self._keep(self._kept.issues, issue)

    def _add_comment(self, repository: str, number: int, body: str, author: str) -> Response:
        comment = PostedText(
            id=next(self._ids), repository=repository, number=number, author=author, body=body
        )
        return self._keep(self._kept.comments, comment)

    def _keep(self, kept: list[PostedText], text: PostedText) -> Response:
        if len(text.body) > MAX_BODY:
            return _refusal(422, "body is too long (maximum is 65536 characters)")
        kept.append(text)
        return JSONResponse(self._json(text), 201)

    def _edit(self, kept: Sequence[PostedText], wanted: int, content: Json) -> Response:
        text = next((each for each in kept if each.id == wanted), None)
        if not text:
            return _refusal(404, "Not Found")
        if len(str(content.get("body", ""))) > MAX_BODY:
            return _refusal(422, "body is too long (maximum is 65536 characters)")
        text.body, text.state = str(content.get("body", text.body)), str(content.get("state", text.state))
        text.edits += 1
        return JSONResponse(self._json(text))

    def _comment(self, request: Request, wanted: int, content: Json) -> Response:
        if not request.url.path.endswith("/reactions"):
            return self._edit(self._kept.comments, wanted, content)
        text = next((each for each in self._kept.comments if each.id == wanted), None)
        if not text:
            return _refusal(404, "Not Found")
        reaction = str(content["content"])
        is_new = reaction not in text.reactions
        text.reactions += (reaction,) if is_new else ()
        return JSONResponse({"content": reaction}, 201 if is_new else 200)

    def _listed(self, request: Request, found: Sequence[Json]) -> Response:
        size = self._page or int(request.query_params.get("per_page", 30))
        page = int(request.query_params.get("page", 1))
        link = f'<{request.url.include_query_params(page=page + 1)}>; rel="next"'
        more = {"Link": link} if len(found) > page * size else None
        return JSONResponse(found[(page - 1) * size : page * size], headers=more)

    def _json(self, text: PostedText) -> Json:
        issues = f"{self.url}/repos/{text.repository}/issues"
        kind = "Bot" if text.author.endswith("[bot]") else "User"
        return {
            "id": text.id,
            "number": text.number,
            "url": f"{issues}/{text.number}" if text.title else f"{issues}/comments/{text.id}",
            "title": text.title,
            "body": text.body,
            "state": text.state,
            "labels": [{"name": label} for label in text.labels],
            "user": {"login": text.author, "type": kind, "url": f"{self.url}/users/{text.author}"},
        }


def _refusal(status: int, message: str, *errors: str) -> Response:
    answer: Json = {"message": message, "documentation_url": "https://docs.github.com/rest"}
    listed = [{"resource": "Status", "code": "custom", "message": each} for each in errors]
    return JSONResponse(answer | ({"errors": listed} if listed else {}), status)
