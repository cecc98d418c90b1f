"""The receiver of webhooks as an ASGI application: GitHub's, Gitea's, Forgejo's and GitLab's (`dialects`).

A request is checked in this order: its size, its signature, what it says, and how many came from its address
that lead to something: a hook on every event also hears our own statuses. Unsigned requests are counted
separately, and not read: a sender without the secret cannot use up a server's allowance, even behind the same
address, that of a proxy. An accepted delivery is in the inbox before it is answered, whether or not Prefect
is available. Neither headers nor bodies are ever logged.
"""

import asyncio
import logging
import math
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_API_URL
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from deployments.allowance import Allowance
from deployments.connections import ConnectionLimits, guarded
from deployments.webhook.absence import Absence
from deployments.webhook.approval import Approvals
from deployments.webhook.decision import Ignore, Start, Work, decide, path_filter, place_of
from deployments.webhook.dialects.dialect import Dialect, first
from deployments.webhook.dialects.gitlab import SIGNING, key_of
from deployments.webhook.dialects.table import dialect_of
from deployments.webhook.dispatch import Dispatcher
from deployments.webhook.feedback import Feedback
from deployments.webhook.heads import Heads
from deployments.webhook.hooks import Hooks
from deployments.webhook.inbox import Inbox
from deployments.webhook.metrics import ReceiverMetrics
from deployments.webhook.payload import Push, WebhookEvent
from kvsync.ci.settings import Settings, WebhookSettings
from kvsync.errors import ConfigError, DecodeError

log = logging.getLogger(__name__)

BODY_TIMEOUT_S = 10.0
DELIVERY = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")
"""Servers send a UUID."""


class _Rejected(Exception):
    """The answer to a request that is turned away; `reason` is fit for a metric."""

    def __init__(self, status: int, reason: str, text: str, headers: dict[str, str] | None = None) -> None:
        self.status, self.reason, self.text, self.headers = status, reason, text, headers
        super().__init__(text)


def create_app(
    settings: Settings,
    inbox: Inbox,
    *,
    clock: Callable[[], float] = time.monotonic,
    open_client: Callable[[], PrefectClient] = get_client,
) -> Starlette:
    """Build the receiver; its lifespan starts the runs. Raises ConfigError without a secret to check with."""
    secret = settings.webhook.secret.get_secret_value()
    problem = "" if secret else "webhook.secret: set KVSYNC_CI_WEBHOOK_SECRET"
    if secret.startswith(SIGNING) and key_of(secret) is None:
        problem = f"webhook.secret: after {SIGNING} a signing token of GitLab's is base64; copy all of it"
    if problem:
        raise ConfigError("configuration of the webhook receiver", [problem])
    path_filter(settings.webhook.ignored_paths)
    metrics = ReceiverMetrics(inbox.depth)
    heads = Heads(settings.github, settings.webhook.ignored_paths)
    dispatcher = Dispatcher(
        inbox,
        heads,
        Approvals(inbox, heads, settings.github, settings.webhook.forks),
        Feedback(settings.github),
        metrics,
        clock=clock,
        open_client=open_client,
    )
    absence = Absence(inbox, heads, Hooks(settings.github), settings)
    return Receiver(settings, inbox, dispatcher, absence, metrics, clock).app()


def serve_webhook(settings: Settings, inbox_path: Path) -> None:
    """Receive until SIGTERM or SIGINT. Raises ConfigError when a secret or Prefect's address is missing."""
    if not PREFECT_API_URL.value():
        raise ConfigError("configuration of the webhook receiver", ["set PREFECT_API_URL to Prefect's API"])
    inbox = Inbox(inbox_path, clock=time.time)
    try:
        uvicorn.Server(server_config(create_app(settings, inbox), settings.webhook)).run()
    finally:
        inbox.close()


def server_config(
    app: Starlette, settings: WebhookSettings, limits: ConnectionLimits | None = None
) -> uvicorn.Config:
    """Return how uvicorn serves the receiver."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=guarded(limits or ConnectionLimits()),
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


class Receiver:
    """The endpoints."""

    def __init__(
        self,
        settings: Settings,
        inbox: Inbox,
        dispatcher: Dispatcher,
        absence: Absence,
        metrics: ReceiverMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._inbox, self._dispatcher, self._metrics = settings, inbox, dispatcher, metrics
        self._absence, self._clock = absence, clock
        rate = settings.webhook.rate_per_minute
        self._allowances = {signed: Allowance(rate, clock) for signed in (True, False)}

    def app(self) -> Starlette:
        """Return the application with its routes."""
        return Starlette(
            routes=[
                Route("/webhook", self.webhook, methods=["POST"]),
                Route("/github", self.webhook, methods=["POST"]),
                Route("/healthz", self.healthz),
                Route("/metrics", self.metrics),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._dispatcher.run()),
                tasks.create_task(self._absence.run(self._dispatcher.wake)),
            ]
            yield
            for task in running:
                task.cancel()

    async def webhook(self, request: Request) -> Response:
        """Take a delivery."""
        began = self._clock()
        try:
            response = await self._take(request)
        except _Rejected as exc:
            self._metrics.rejected.labels(exc.reason).inc()
            log.info("rejected with %d: %s", exc.status, exc.reason)
            response = PlainTextResponse(exc.text, exc.status, exc.headers)
        self._metrics.answer_seconds.observe(self._clock() - began)
        return response

    async def _take(self, request: Request) -> Response:
        settings, headers = self._settings.webhook, request.headers
        body = await read_body(request, settings.body_limit)
        dialect = dialect_of(headers)
        if not dialect.is_signed(headers, body, settings.secret.get_secret_value(), time.time()):
            self._count(request, signed=False)
            raise _Rejected(401, "signature", dialect.proof)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise _Rejected(415, "content-type", "set the webhook's content type to application/json")
        event, delivery = first(headers, dialect.marks), first(headers, dialect.ids)
        if not DELIVERY.fullmatch(delivery):
            raise _Rejected(400, "delivery", f"{' or '.join(dialect.ids)} is not the id of a delivery")
        delivery = dialect.prefix + delivery
        status, outcome, why = await self._believe(request, dialect, event, delivery, body)
        label = "ping" if event == dialect.ping else dialect.events.get(event, ("other", None))[0]
        self._metrics.deliveries.labels(label, outcome).inc()
        log.info("delivery %s: %s %a", delivery, outcome, why)
        if outcome == "accepted":
            self._dispatcher.wake()
        return PlainTextResponse(f"{outcome}: {why}" if why else outcome, status)

    def _count(self, request: Request, *, signed: bool) -> None:
        if wait_s := self._allowances[signed].take(request.client.host if request.client else ""):
            again = {"Retry-After": str(math.ceil(wait_s))}
            raise _Rejected(429, "rate", "too many requests from this address", again)

    async def _believe(
        self, request: Request, dialect: Dialect, event: str, delivery: str, body: bytes
    ) -> tuple[int, str, str]:
        """Read a signed body and write down what follows; returns status, outcome, and why."""
        if event and event == dialect.ping:
            self._count(request, signed=True)
            return 200, "pong", ""
        if event not in dialect.events:
            return 202, "ignored", "this event starts nothing"
        try:
            happened = await asyncio.to_thread(dialect.events[event][1], body)
            found = await asyncio.to_thread(decide, happened, self._settings)
        except DecodeError as exc:
            raise _Rejected(400, exc.reason, str(exc)) from exc
        work = found.answer if isinstance(found, Ignore) else found
        if work:
            self._count(request, signed=True)
        is_new = await asyncio.to_thread(self._keep, delivery, happened, work)
        if isinstance(found, Ignore):
            if is_new:
                self._dispatcher.wake()
            return 202, "ignored", found.reason
        return (202, "accepted", "") if is_new else (200, "repeated", "already accepted")

    def _keep(self, delivery: str, event: WebhookEvent, work: Work | None) -> bool:
        """Write a delivery down, and what it was about; False if it is there, or was caught up with."""
        place = place_of(event, self._settings)
        at = work.at.timestamp() if isinstance(work, Start) and work.at else None
        try:
            if place and isinstance(work, Start) and self._inbox.was_missed(*place, at):
                return False
            is_new = self._inbox.add(delivery, work) if work else False
            # A push that was ignored is not to be caught up with; it is not known then what it touched.
            if place and (isinstance(work, Start) or isinstance(event, Push)):
                self._inbox.note(*place)
            return is_new
        except sqlite3.Error as exc:
            log.exception("the inbox cannot be written to")
            raise _Rejected(503, "inbox", "the delivery could not be written down; send it again") from exc

    def healthz(self, _: Request) -> Response:
        """Say that deliveries are accepted, and what keeps earlier ones waiting."""
        waiting, oldest_s = self._inbox.depth()
        return JSONResponse(
            {"waiting": waiting, "oldest_s": round(oldest_s, 1), "trouble": self._dispatcher.trouble}
        )

    def metrics(self, _: Request) -> Response:
        """Write all metrics in Prometheus' text format."""
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body; at most `limit` bytes are held at any time, whatever Content-Length says."""
    declared = request.headers.get("content-length", "")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            if declared.isdecimal() and float(declared) > limit:
                raise _too_large(limit)
            async for chunk in request.stream():
                if len(body) + len(chunk) > limit:
                    raise _too_large(limit)
                body += chunk
    except TimeoutError as exc:
        raise _Rejected(408, "slow", "the body took too long", CLOSE) from exc
    except ClientDisconnect as exc:
        raise _Rejected(400, "disconnect", "the body ended early", CLOSE) from exc
    return bytes(body)


CLOSE = {"Connection": "close"}
"""The rest of the body is not read."""


def _too_large(limit: int) -> _Rejected:
    return _Rejected(413, "size", f"more than {limit} bytes", CLOSE)
