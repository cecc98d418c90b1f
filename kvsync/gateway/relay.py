"""The completion endpoints: choose a pod, pass the request on, and ask the next pod when one fails.

While a pod is ready the client gets an answer: another pod is asked as long as no byte was passed on. An
answer that breaks off afterwards ends with a closed connection, which no client takes for a complete one, or
with an event that says so: by setting, and always in HTTP/1.0, where the end of a connection ends any answer.
A client that hangs up also ends its request at the pod.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from http import HTTPStatus
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from kvsync.config import GatewayConfig
from kvsync.errors import TokenizeError, UnknownName
from kvsync.gateway.agreement import reported_cached_tokens, reported_prompt_tokens
from kvsync.gateway.catalog import Target
from kvsync.gateway.completion import COMPLETION_PATHS, Completion, parse, parse_other, without_report
from kvsync.gateway.failover.attempts import REFUSALS, Attempts
from kvsync.gateway.failover.breaker import Breakers
from kvsync.gateway.failover.budget import RetryBudget
from kvsync.gateway.load import RunningRequests
from kvsync.gateway.metrics import GatewayMetrics
from kvsync.gateway.operation.passage import passage_of
from kvsync.gateway.operation.usage import WithoutUsage, with_usage
from kvsync.gateway.predictions import Prediction, Predictions
from kvsync.gateway.proxy import Headers, Proxy, UpstreamAnswer, UpstreamFailure
from kvsync.gateway.refusal import error, refusal
from kvsync.gateway.router import Router
from kvsync.gateway.text import TokenIds
from kvsync.gateway.tokens import Tokenizer
from kvsync.ratelimit import RateLimit
from kvsync.routing import Choice

log = logging.getLogger(__name__)

DRAINED_BODIES = 4
"""How much of an oversized body is read and discarded, in times of the limit: a client whose connection is
closed while it is still sending never sees the answer that says why."""

LOG_INTERVAL_S = 1.0
"""At most one warning in this time: a pod that dies fails all its requests at once. Metrics count each."""

CREDENTIALS = frozenset({b"authorization", b"x-api-key"})

USAGE_TAIL_BYTES = 4096
"""How much of an answer's end is searched for its usage, which engines write last."""


async def read_body(request: Request, limit: int) -> bytes:
    """Read a request's body. Raises HTTPException 413 beyond `limit` bytes, ClientDisconnect."""
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            body += chunk
        elif size > DRAINED_BODIES * limit:
            break
    if size > limit:
        raise HTTPException(413, f"the body is larger than {limit} bytes")
    return bytes(body)


async def unless_gone(receive: Receive, work: Coroutine[None, None, None]) -> None:
    """Run `work` to its end, or cancel it as soon as the client hangs up."""
    async with asyncio.TaskGroup() as tasks:
        job = tasks.create_task(work)
        watch = tasks.create_task(_hung_up(receive))
        await asyncio.wait({job, watch}, return_when=asyncio.FIRST_COMPLETED)
        job.cancel()
        watch.cancel()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def credentials(request: Request) -> Headers:
    """Return the headers by which the client shows who it is, as it sent them."""
    return [(name, value) for name, value in request.headers.raw if name in CREDENTIALS]


async def understand(
    body: bytes, router: Router, read: Callable[[bytes], Completion] = parse
) -> tuple[Completion, Target]:
    """Read a request and find the pods that serve its model. Raises HTTPException 400 or 404."""
    try:
        completion = read(body)
        return completion, await router.find(completion.model)
    except ValueError as exc:
        raise HTTPException(400, str(exc)) from exc
    except UnknownName as exc:
        raise HTTPException(404, str(exc)) from exc


ROUTING_HEADERS = (
    "x-kvsync-pod",
    "x-kvsync-selection",
    "x-kvsync-matched-blocks",
    "x-kvsync-predicted-cached-tokens",
    "x-kvsync-source-state",
)
"""By these an answer says how it was routed."""


RANK_HEADER = b"x-data-parallel-rank"
"""By this a request asks for one of an engine's data-parallel ranks (vLLM 0.11 to 0.32)."""


def asking_for(rank: int | None, headers: Headers) -> Headers:
    """Return a request's headers, by which it asks for a rank that was chosen and for no other."""
    if rank is None:
        return headers
    others = [(name, value) for name, value in headers if name.lower() != RANK_HEADER]
    return [*others, (RANK_HEADER, b"%d" % rank)]


def routing_headers(choice: Choice, prediction: Prediction) -> Headers:
    """Return the headers by which an answer says how it was routed."""
    values = (
        choice.pod,
        choice.selection.value,
        choice.matched_blocks,
        prediction.cached_tokens,
        choice.state.value,
    )
    return [
        (name.encode(), str(value).encode("latin-1", "replace"))
        for name, value in zip(ROUTING_HEADERS, values, strict=True)
    ]


class Tried(NamedTuple):
    """A pod that was asked in vain."""

    choice: Choice
    prediction: Prediction
    failure: UpstreamFailure


def engines_own(tried: Sequence[Tried]) -> tuple[UpstreamAnswer, Tried] | None:
    """Return the last refusal, if each pod that got the request refused it in its own words."""
    seen = [each for each in tried if each.failure.is_seen]
    if not seen or not all(each.failure.said for each in seen):
        return None
    said = seen[-1].failure.said
    return (said, seen[-1]) if said else None


def unanswered(model: str, tried: Sequence[Tried], withheld: str) -> Response:
    """Return the answer when no pod gave one: what was tried, and when a pod wants to be asked again."""
    what = [f"{failure.pod}: {failure.reason}" for _, _, failure in tried] or ["none is ready"]
    again = [
        value.decode("latin-1")
        for _, _, failure in tried
        for name, value in (failure.said.headers if failure.said else ())
        if name.lower() == b"retry-after"
    ]
    text = "; ".join([*what, withheld] if withheld else what)
    headers = {"retry-after": again[0]} if again else None
    return refusal(503, f"no pod answered for model {model!r}: {text}", headers)


def broken(failed: UpstreamFailure) -> bytes:
    """Return the event that ends a stream which broke off, as OpenAI's clients understand it."""
    said = error(502, f"the answer of pod {failed.pod} broke off: {failed.reason}")
    return b"data: " + json.dumps(said).encode() + b"\n\n"


class Relay:
    """An ASGI endpoint that passes completions, and what else engines serve, on."""

    def __init__(
        self,
        *,
        router: Router,
        tokenizer: Tokenizer,
        proxy: Proxy,
        load: RunningRequests,
        predictions: Predictions,
        metrics: GatewayMetrics,
        config: GatewayConfig,
        budget: RetryBudget,
        breakers: Breakers,
    ) -> None:
        self._max_body_bytes = config.clients.max_body_bytes
        self._says_so = config.clients.broken_stream == "event"
        self._asks_for_usage = config.upstream.asks_for_usage
        self._forwards_report_mode = config.upstream.forwards_report_mode
        self._retries = config.upstream.retries
        self._budget = budget
        self._breakers = breakers
        self._router = router
        self._tokenizer = tokenizer
        self._proxy = proxy
        self._load = load
        self._predictions = predictions
        self._metrics = metrics
        self._limit = RateLimit(LOG_INTERVAL_S, time.monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises HTTPException for a request that is not passed on to any pod."""
        request = Request(scope, receive)
        try:
            body = await read_body(request, self._max_body_bytes)
        except ClientDisconnect:
            return
        completion, target = await understand(body, self._router, self._reader(request))
        if completion.wants_report and not self._forwards_report_mode:
            body = without_report(body)
        is_added = self._asks_for_usage and completion.is_compared and completion.stream
        if is_added and not completion.asks_for_usage:
            body, passage_of(scope).hides_usage = with_usage(body), True
        has_begun = False

        async def noted(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await unless_gone(receive, self._serve(request, noted, body, completion, target))
        except asyncio.CancelledError:
            # uvicorn cancels what outlasts the grace period, and would print this as a defect.
            log.warning("a request to %s was cut off by the end of the gateway", request.url.path)
            if not has_begun:
                await refusal(503, "the gateway ends", {"retry-after": "1"})(scope, receive, send)

    def _reader(self, request: Request) -> Callable[[bytes], Completion]:
        if request.url.path in COMPLETION_PATHS:
            return parse
        kind = request.headers.get("content-type", "")
        return partial(parse_other, path=request.url.path, content_type=kind)

    async def _serve(
        self, request: Request, send: Send, body: bytes, completion: Completion, target: Target
    ) -> None:
        model, passage, asked_at = target.model, passage_of(request.scope), time.perf_counter()
        tokens = await self._tokens(request, completion, target)
        passage.tokenize_s = time.perf_counter() - asked_at if tokens is not None else None
        with self._metrics.routing_seconds.time():
            route = self._router.route(target, tokens, completion.cache_salt)
        self._metrics.decided(model, route)
        passage.model, passage.policy = model, route.policy
        passage.prompt_tokens = None if tokens is None else len(tokens)
        pods = {pod.name: pod for pod in target.pods}
        path = f"{request.url.path}?{request.url.query}".removesuffix("?")
        tried: list[Tried] = []
        passage.outcome = "disconnected"
        attempts = Attempts(
            self._breakers.order(route.choices),
            engines=self._retries.engines,
            budget=self._budget,
            running=self._load.of,
        )
        self._budget.request()
        try:
            while choice := attempts.next():
                passage.chose(choice)
                with (
                    self._load.running(choice.pod, choice.rank),
                    self._breakers.trying(choice.pod),
                    self._predictions.made(
                        pods[choice.pod],
                        held=route.predicted_cached_tokens(choice),
                        block_size=choice.block_size,
                        tokens=tokens,
                    ) as prediction,
                ):
                    headers = asking_for(choice.rank, request.headers.raw)
                    async with self._proxy.post(pods[choice.pod], path, headers, body) as answer:
                        if isinstance(answer, UpstreamAnswer):
                            passage.outcome = await self._pass_on(
                                request, answer, choice, prediction, completion, send
                            )
                            return
                        self._note(answer, "asking the next pod, if there is one")
                tried.append(Tried(choice, prediction, answer))
                attempts.failed(choice.pod, is_seen=answer.is_seen, status=answer.status)
            if said := engines_own(tried):
                answer, (choice, prediction, _) = said
                passage.chose(choice)
                passage.outcome = await self._pass_on(request, answer, choice, prediction, completion, send)
                return
            passage.outcome = "503"
            await unanswered(completion.model, tried, attempts.withheld)(request.scope, request.receive, send)
        finally:
            self._metrics.requests.labels(model, passage.selection, passage.outcome, route.policy).inc()

    async def _pass_on(
        self,
        request: Request,
        answer: UpstreamAnswer,
        choice: Choice,
        prediction: Prediction,
        completion: Completion,
        send: Send,
    ) -> str:
        """Send an answer to the client; returns how that ended, as the label of a metric."""
        is_refused = answer.status in REFUSALS
        if not is_refused:
            self._breakers.began(choice.pod)
        headers = [*answer.headers, *routing_headers(choice, prediction)]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        cut = WithoutUsage() if answer.streams and passage_of(request.scope).hides_usage else None
        tail, says_so = b"", answer.streams and (self._says_so or request["http_version"] == "1.0")
        try:
            async with aclosing(answer.chunks) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, UpstreamFailure):
                        self._note(chunk, "the answer had begun: the client is shown that it broke off")
                        if says_so:
                            await send({"type": "http.response.body", "body": broken(chunk)})
                        return "broken"
                    tail = (tail + chunk)[-USAGE_TAIL_BYTES:]
                    if shown := cut.feed(chunk) if cut else chunk:
                        await send({"type": "http.response.body", "body": shown, "more_body": True})
        except asyncio.CancelledError:
            if says_so:
                ended = UpstreamFailure(pod=choice.pod, reason="the gateway ends")
                await send({"type": "http.response.body", "body": broken(ended)})
            raise
        await send({"type": "http.response.body", "body": cut.end() if cut else b""})
        if not is_refused:
            self._breakers.answered(choice.pod)
        is_known = prediction.tokens is not None or not completion.reads_cache
        is_alone = completion.is_compared and completion.prompts == completion.answers == 1
        found = None
        if answer.status == HTTPStatus.OK and is_alone and is_known:
            found = self._predictions.compare(prediction, tail)
            self._metrics.compared(prediction, found)
        if completion.is_compared:
            passage = passage_of(request.scope)
            passage.predicted = prediction.cached_tokens if is_known else None
            passage.reported = found[1] if found else reported_cached_tokens(tail)
            passage.engine_prompt_tokens = reported_prompt_tokens(tail)
        return str(answer.status)

    async def _tokens(self, request: Request, completion: Completion, target: Target) -> TokenIds | None:
        if not completion.reads_cache:
            return None
        try:
            return await self._tokenizer.tokens(
                completion.prompt, self._router.tokenizers(target), credentials(request)
            )
        except TokenizeError as exc:
            self._metrics.tokenize_failures.inc()
            self._warn("tokens of a prompt are not known, routing without: %s", exc)
            return None

    def _note(self, failed: UpstreamFailure, then: str) -> None:
        self._metrics.upstream_failures.labels(failed.pod).inc()
        if failed.status != HTTPStatus.TOO_MANY_REQUESTS:
            self._breakers.failed(failed.pod)
        self._warn("pod %s: %s; %s", failed.pod, failed.reason, then)

    def _warn(self, text: str, *values: object) -> None:
        held_back = self._limit.admit()
        if held_back is not None:
            log.warning(f"{text} ({held_back} warnings were held back)", *values)
