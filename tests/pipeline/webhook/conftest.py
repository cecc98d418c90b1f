"""A Prefect server with the pipeline's deployments, a GitHub, and receivers on real sockets."""

import asyncio
import hashlib
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import uuid4

import httpx
import pytest
import uvicorn
from prefect.client.orchestration import PrefectClient
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deployments.connections import ConnectionLimits
from deployments.webhook.app import create_app, server_config
from deployments.webhook.inbox import Inbox
from kvsync.ci.settings import GitHubSettings, RepositorySettings, Settings, WebhookSettings
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES

T = TypeVar("T")
SECRET = "it is a secret to everybody"  # noqa: S105 - nobody's
NAME = "octo-org/octo-repo"


def headers(event: str, body: bytes, delivery: str) -> dict[str, str]:
    """What GitHub sends along."""
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": f"sha256={signature}",
    }


async def until(condition: Callable[[], Awaitable[T | None]], *, within_s: float = 10) -> T:
    """Ask until the answer is true, and return it."""
    async with asyncio.timeout(within_s):
        while not (answer := await condition()):  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.02)
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A receiver that runs in this process."""

    client: httpx.AsyncClient
    inbox: Inbox

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.client.base_url.port or 0

    async def deliver(self, event: str, document: object, delivery: str = "") -> tuple[str, httpx.Response]:
        """Send a signed delivery; returns its id and the answer."""
        delivery = delivery or str(uuid4())
        body = json.dumps(document).encode()
        return delivery, await self.client.post(
            "/github", content=body, headers=headers(event, body, delivery)
        )

    async def outcome(self, delivery: str) -> tuple[str, str]:
        """Wait until a delivery is finished; returns its outcome and flow run."""

        async def found() -> tuple[str, str] | None:
            outcome, flow_run = self.inbox.outcomes()[delivery]
            return (outcome, str(flow_run)) if outcome else None

        return await until(found, within_s=20)


class StartReceiver(Protocol):
    """Starts receivers that end with the test."""

    async def __call__(
        self,
        *,
        prefect: str = "",
        github: str = "",
        limits: ConnectionLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        shop: dict[str, RepositorySettings] | None = None,
        **webhook: object,
    ) -> Receiver:
        """Start one; with no address, Prefect or GitHub is away. `shop`: repositories anywhere."""


@asynccontextmanager
async def serving(app: Starlette, limits: ConnectionLimits | None = None) -> AsyncIterator[str]:
    """Serve an application on a port of its own as the receiver is; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(server_config(app, WebhookSettings(), limits))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - nothing signals it; the test's time limit ends it
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        async with asyncio.timeout(10):
            await task


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    """An empty inbox."""
    with closing(Inbox(tmp_path / "inbox.db", time.time)) as inbox:
        yield inbox


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that never answers: bound, so that no other process gets it, and not listened on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
async def start_receiver(tmp_path: Path, closed_port: int) -> AsyncIterator[StartReceiver]:
    """See StartReceiver."""
    away = f"http://127.0.0.1:{closed_port}"
    async with AsyncExitStack() as stack:

        async def start(
            *,
            prefect: str = "",
            github: str = "",
            limits: ConnectionLimits | None = None,
            clock: Callable[[], float] = time.monotonic,
            shop: dict[str, RepositorySettings] | None = None,
            **webhook: object,
        ) -> Receiver:
            chosen = {
                "secret": SecretStr(SECRET),
                "repositories": (NAME,),
                "actors": ("octo-maintainer",),
                **webhook,
            }
            settings = Settings(
                webhook=WebhookSettings.model_validate(chosen),
                github=GitHubSettings(token=SecretStr("gh-token"), api_url=github or away),
                repositories=shop or {},
            )
            inbox = stack.enter_context(closing(Inbox(tmp_path / "inbox.db", time.time)))
            app = create_app(settings, inbox, clock=clock, open_client=lambda: PrefectClient(prefect or away))
            address = await stack.enter_async_context(serving(app, limits))
            client = await stack.enter_async_context(
                httpx.AsyncClient(base_url=address, timeout=10, verify=NO_CERTIFICATES)
            )
            return Receiver(client=client, inbox=inbox)

        yield start


@dataclass(slots=True)
class GitHub:
    """Answers for pull requests and refs with the documents in `answers`; notes what is asked."""

    address: str = ""
    answers: dict[str, tuple[int, object]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        """Answer what is asked."""
        path = request.scope["raw_path"].decode().removeprefix(f"/repos/{NAME}/")
        self.asked.append((path, request.headers.get("authorization", "")))
        status, document = self.answers.get(path, (404, {"message": "Not Found"}))
        return JSONResponse(document, status)


@pytest.fixture
async def github() -> AsyncIterator[GitHub]:
    """A GitHub that knows nothing yet."""
    double = GitHub()
    async with serving(Starlette(routes=[Route("/{path:path}", double.answer)])) as double.address:
        yield double


Deploy = Callable[[str], Awaitable[None]]


@pytest.fixture
async def prefect(server: str) -> AsyncIterator[PrefectClient]:
    """A client of the server."""
    async with PrefectClient(server) as client:
        yield client


@pytest.fixture
def deploy(prefect: PrefectClient) -> Deploy:
    """Make a deployment of the pipeline that no worker serves."""

    async def make(name: str) -> None:
        flow = await prefect.create_flow_from_name("pipeline")
        await prefect.create_deployment(
            flow, name, parameters={"parameters": {"stages": ["unit", "e2e"], "profile": "full"}}
        )

    return make


@pytest.fixture
async def pipeline(server: str, deploy: Deploy) -> str:
    """The address of a server with the deployments that deliveries start."""
    for name in ("commit", "pull-request", "adhoc"):
        await deploy(name)
    return server
