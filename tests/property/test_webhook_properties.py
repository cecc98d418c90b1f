"""Whatever arrives, the receiver neither breaks nor believes it without the right signature."""

import asyncio
import hashlib
import hmac
import json
import string
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.types import ASGIApp

from deployments.webhook.app import create_app
from deployments.webhook.decision import Cancel, Ignore, decide
from deployments.webhook.dialects.dialect import Dialect, Reader
from deployments.webhook.dialects.gitea import GITEA
from deployments.webhook.dialects.github import GITHUB
from deployments.webhook.dialects.gitlab import GITLAB
from deployments.webhook.dialects.table import DIALECTS
from deployments.webhook.inbox import Inbox
from kvsync.ci.settings import RepositorySettings, Settings, WebhookSettings
from kvsync.errors import DecodeError
from tests.payloads.forges import (
    Document,
    gitea_comment,
    gitea_pull_request,
    gitea_push,
    gitlab_merge_request,
    gitlab_note,
    gitlab_push,
)
from tests.payloads.recorded import payload

SECRET = b"it is a secret to everybody"
SETTINGS = Settings(
    webhook=WebhookSettings(
        secret=SecretStr(SECRET.decode()),
        repositories=("octo-org/octo-repo",),
        actors=("octo-maintainer",),
        body_limit=2000,
        rate_per_minute=10**9,
    ),
    repositories={"shop": RepositorySettings(url="git@git.example.org:team/shop.git", actors=("ann",))},
)
NAMES = ("push", "pull_request", "pull_request_fork", "issue_comment", "workflow_dispatch", "merge_group")

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"x-hub-signature-256",
                b"x-github-event",
                b"x-github-delivery",
                b"x-gitea-event",
                b"x-gitea-signature",
                b"x-forgejo-signature",
                b"x-gitlab-event",
                b"x-gitlab-token",
                b"webhook-id",
                b"webhook-timestamp",
                b"webhook-signature",
                b"content-type",
                b"content-length",
                b"x",
            ]
        ),
        st.binary(max_size=40)
        | st.sampled_from(
            [b"sha256=", b"sha256=" + b"0" * 64, b"push", b"ping", b"application/json", b"9" * 400]
        ),
    ),
    max_size=8,
)


def ask(app: ASGIApp, headers: Iterable[tuple[bytes, bytes]], chunks: list[bytes]) -> int:
    """Post chunks of a body to the application as a server would; returns the status."""
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, 1)
    ] or [{"type": "http.request"}]
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/github",
        "raw_path": b"/github",
        "query_string": b"",
        "headers": list(headers),
        "client": ("192.0.2.1", 1),
        "server": ("127.0.0.1", 80),
    }
    run: Callable[..., Awaitable[None]] = app
    asyncio.run(_finish(run(scope, receive, send)))
    return int(sent[0]["status"])


async def _finish(answering: Awaitable[None]) -> None:
    await answering


@given(headers=HEADERS, chunks=st.lists(st.binary(max_size=1500), max_size=3))
@settings(max_examples=150, deadline=None)
def test_nothing_is_believed_without_the_right_signature(
    headers: list[tuple[bytes, bytes]], chunks: list[bytes]
) -> None:
    """Any bytes and headers are the sender's fault, and leave nothing behind."""
    with tempfile.TemporaryDirectory() as folder, closing(Inbox(Path(folder) / "i.db", time.time)) as inbox:
        status = ask(create_app(SETTINGS, inbox), headers, chunks)

        assert status in (401, 413)
        assert inbox.outcomes() == {}


@given(
    body=st.binary(max_size=300) | JSON.map(json.dumps).map(str.encode),
    spoken=st.sampled_from([(dialect, event) for dialect in DIALECTS for event in dialect.events]),
)
@settings(max_examples=100, deadline=None)
def test_a_signed_body_of_any_shape_is_answered(body: bytes, spoken: tuple[Dialect, str]) -> None:
    """Servers may change their payloads at any time."""
    dialect, event = spoken
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest().encode()
    headers = [
        (b"content-type", b"application/json"),
        (dialect.marks[-1].lower().encode(), event.encode()),
        (dialect.ids[-1].lower().encode(), b"1"),
        (b"x-hub-signature-256", b"sha256=" + signature),
        (b"x-gitea-signature", signature),
        (b"x-gitlab-token", SECRET),
    ]
    with tempfile.TemporaryDirectory() as folder, closing(Inbox(Path(folder) / "i.db", time.time)) as inbox:
        assert ask(create_app(SETTINGS, inbox), headers, [body]) in (202, 400)


def _places(document: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every path into a document that the receiver may look at."""
    match document:
        case dict():
            inner = [_places(value, (*path, key)) for key, value in document.items()]
        case list():
            inner = [_places(value, (*path, number)) for number, value in enumerate(document)]
        case _:
            inner = []
    return [path, *(place for places in inner for place in places)]


GITHUB_DOCUMENTS = [(GITHUB.events[name.removesuffix("_fork")][1], payload(name)) for name in NAMES]
GITEA_DOCUMENTS = {
    "push": gitea_push(),
    "pull_request": gitea_pull_request(),
    "issue_comment": gitea_comment("/run unit"),
}
GITLAB_DOCUMENTS = {
    "Push Hook": gitlab_push(),
    "Merge Request Hook": gitlab_merge_request("guest/shop"),
    "Note Hook": gitlab_note("/run unit"),
}
DOCUMENTS: list[tuple[Reader, Document]] = [
    *GITHUB_DOCUMENTS,
    *((GITEA.events[event][1], document) for event, document in GITEA_DOCUMENTS.items()),
    *((GITLAB.events[event][1], document) for event, document in GITLAB_DOCUMENTS.items()),
]


@st.composite
def changed_payloads(draw: st.DrawFn) -> tuple[Reader, bytes]:
    """A payload, and what reads it, with some values replaced by anything."""
    read, recorded = draw(st.sampled_from(DOCUMENTS))
    document = json.loads(json.dumps(recorded))
    for path in draw(st.lists(st.sampled_from(_places(document)[1:]), max_size=3)):
        place = document
        try:
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = draw(
                JSON | st.sampled_from(["/run", "/retest", "/ok-to-test", "refs/heads/main", "--x"])
            )
        except (KeyError, IndexError, TypeError):
            continue
    return read, json.dumps(document).encode()


@given(delivery=changed_payloads())
@settings(max_examples=400, deadline=None)
def test_a_decision_never_raises(delivery: tuple[Reader, bytes]) -> None:
    """A payload is understood, ignored with a printable reason, or no payload."""
    read, body = delivery
    try:
        found = decide(read(body), SETTINGS)
    except DecodeError:
        return
    if isinstance(found, Ignore):
        assert found.reason.isprintable()
    else:
        assert found.model_dump_json()


@given(
    arrivals=st.lists(
        st.tuples(st.text(string.ascii_letters, min_size=1, max_size=2), st.booleans()), max_size=30
    )
)
@settings(max_examples=60, deadline=None)
def test_each_delivery_is_in_the_inbox_once(arrivals: list[tuple[str, bool]]) -> None:
    """Repeated in any order, also after restarts and after it was finished."""
    with tempfile.TemporaryDirectory() as folder:
        seen: dict[str, None] = {}
        for delivery, finishes in arrivals:
            with closing(Inbox(Path(folder) / "i.db", time.time)) as inbox:
                assert inbox.add(delivery, Cancel(pull_request="octo-org/octo-repo#7")) is (
                    delivery not in seen
                )
                seen[delivery] = None
                if finishes and (waiting := inbox.waiting()):
                    inbox.finish(waiting[0], "cancelled")
                assert list(inbox.outcomes()) == list(seen)
