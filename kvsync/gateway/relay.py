"""The completion endpoints: choose a pod, pass the request on, and ask the next pod when one fails.

While a pod is ready the client gets an answer: another pod is asked as long as no byte was passed on. An
answer that breaks off afterwards ends with a closed connection, which no client takes for a complete one, or
with an event that says so: by setting, and always in HTTP/1.0, where the end of a connection ends any answer.
A client that hangs up also ends its request at the pod.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from http import HTTPStatus
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kvsync.access.peers import Headers
from kvsync.config import ClientsConfig, GatewayConfig
from kvsync.errors import TokenizeError, UnknownName
from kvsync.gateway.answers.ending import to_its_end
from kvsync.gateway.answers.stored import HEAD_BYTES, StoredResponses
from kvsync.gateway.answers.usage import COMPLETIONS
from kvsync.gateway.catalog import Target
from kvsync.gateway.clients.connection import CLOSE
from kvsync.gateway.completion import COMPLETION_PATHS, Completion, parse, parse_other, without_report
from kvsync.gateway.failover.attempts import REFUSALS, Attempts
from kvsync.gateway.failover.breaker import Breakers
from kvsync.gateway.failover.budget import RetryBudget
from kvsync.gateway.load import RunningRequests
from kvsync.gateway.metrics import GatewayMetrics
from kvsync.gateway.operation.passage import CLIENT, Passage, passage_of
from kvsync.gateway.operation.usage import WithoutUsage, with_usage
from kvsync.gateway.predictions import Prediction, Predictions
from kvsync.gateway.proxy import Proxy, UpstreamAnswer, UpstreamFailure
from kvsync.gateway.refusal import error_event, refusal
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


async def read_body(request: Request, limits: ClientsConfig) -> bytes:
    """Read a request's body.

    Raises HTTPException 413 for one that is too large, 408 when nothing more comes, ClientDisconnect.
    """
    body, size, limit = bytearray(), 0, limits.max_body_bytes
    if announced(request) > DRAINED_BODIES * limit:
        raise HTTPException(413, f"the body is larger than {limit} bytes")
    clock = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(limits.request_idle_s) as patience:
            async for chunk in request.stream():
                patience.reschedule(clock() + limits.request_idle_s)
                size += len(chunk)
                if size <= limit:
                    body += chunk
                elif size > DRAINED_BODIES * limit:
                    break
    except TimeoutError as exc:
        of = f" of {length}" if (length := request.headers.get("content-length")) else ""
        said = f"{size}{of} bytes of the body came, and nothing more for {limits.request_idle_s:g} s"
        raise HTTPException(408, said) from exc
    if size > limit:
        raise HTTPException(413, f"the body is larger than {limit} bytes")
    return bytes(body)


def announced(request: Request) -> int:
    """Return how many bytes of body a request's head announces; 0 if it does not."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


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


def unanswered(path: str, model: str, tried: Sequence[Tried], withheld: str) -> Response:
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
    return refusal(path, 503, f"no pod answered for model {model!r}: {text}", headers)


def broken(path: str, failed: UpstreamFailure) -> bytes:
    """Return the event that ends a stream which broke off, as the clients of this path understand it."""
    return error_event(path, 502, f"the answer of pod {failed.pod} broke off: {failed.reason}")


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
        stored: StoredResponses,
    ) -> None:
        self._clients = config.clients
        self._says_so = config.clients.broken_stream == "event"
        self._asks_for_usage = config.upstream.asks_for_usage
        self._forwards_report_mode = config.upstream.forwards_report_mode
        self._retries = config.upstream.retries
        self._budget = budget
        self._breakers = breakers
        self._stored = stored
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
            body = await read_body(request, self._clients)
        except ClientDisconnect:
            passage_of(scope).outcome = "disconnected"
            return
        completion, target = await understand(body, self._router, self._reader(request))
        if completion.goes_on and self._stored.is_anothers(completion.goes_on, scope.get(CLIENT, "")):
            raise HTTPException(404, f"response {completion.goes_on!r} is not known")
        if completion.wants_report and not self._forwards_report_mode:
            body = without_report(body)
        is_added = self._asks_for_usage and completion.usage is COMPLETIONS and completion.stream
        if is_added and not completion.asks_for_usage:
            body, passage_of(scope).hides_usage = with_usage(body), True
        await to_its_end(scope, receive, send, partial(self._serve, request, body, completion, target))

    def _reader(self, request: Request) -> Callable[[bytes], Completion]:
        if request.scope["path"] in COMPLETION_PATHS:
            return parse
        kind = request.headers.get("content-type", "")
        return partial(parse_other, path=request.scope["path"], content_type=kind)

    async def _serve(
        self, request: Request, body: bytes, completion: Completion, target: Target, send: Send
    ) -> None:
        model, passage, asked_at = target.model, passage_of(request.scope), time.perf_counter()
        tokens = await self._tokens(request, completion, target)
        passage.tokenize_s = time.perf_counter() - asked_at if tokens is not None else None
        with self._metrics.routing_seconds.time():
            route = await self._router.route(target, tokens, completion.cache_salt)
        self._metrics.decided(model, route)
        passage.model, passage.policy = model, route.policy
        passage.prompt_tokens = None if tokens is None else len(tokens)
        pods = {pod.name: pod for pod in target.pods}
        path = f"{request.scope['path']}?{request.scope['query_string'].decode()}".removesuffix("?")
        tried: list[Tried] = []
        client = request.scope.get(CLIENT, "")
        keeps = self._stored.pod_of(completion.goes_on, client) if completion.goes_on else None
        choices = [each for each in route.choices if keeps in (None, each.pod)]
        passage.outcome = "disconnected"
        attempts = Attempts(
            self._breakers.order(choices),
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
                    async with self._proxy.send(
                        pods[choice.pod], request.method, path, headers, body
                    ) as answer:
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
            none = unanswered(request.scope["path"], completion.model, tried, attempts.withheld)
            await none(request.scope, request.receive, send)
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
        unnamed, client = b"" if completion.is_stored else None, request.scope.get(CLIENT, "")
        cut = WithoutUsage() if answer.streams and passage_of(request.scope).hides_usage else None
        tail, says_so = b"", answer.streams and (self._says_so or request["http_version"] == "1.0")
        try:
            async with aclosing(answer.chunks) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, UpstreamFailure):
                        self._note(chunk, "the answer had begun: the client is shown that it broke off")
                        if says_so:
                            await send(
                                {"type": "http.response.body", "body": broken(request.scope["path"], chunk)}
                            )
                        elif close := request.scope.get("state", {}).get(CLOSE):
                            close()
                        return "broken"
                    tail = (tail + chunk)[-USAGE_TAIL_BYTES:]
                    if unnamed is not None and len(unnamed) < HEAD_BYTES:
                        unnamed = (
                            None
                            if self._stored.note(unnamed + chunk, choice.pod, client)
                            else unnamed + chunk
                        )
                    if shown := cut.feed(chunk) if cut else chunk:
                        await send({"type": "http.response.body", "body": shown, "more_body": True})
        except asyncio.CancelledError:
            if says_so:
                ended = UpstreamFailure(pod=choice.pod, reason="the gateway ends")
                await send({"type": "http.response.body", "body": broken(request.scope["path"], ended)})
            raise
        await send({"type": "http.response.body", "body": cut.end() if cut else b""})
        if not is_refused:
            self._breakers.answered(choice.pod)
        self._compare(passage_of(request.scope), answer.status, prediction, completion, tail)
        return str(answer.status)

    def _compare(
        self, passage: Passage, status: int, prediction: Prediction, completion: Completion, tail: bytes
    ) -> None:
        """Compare what was predicted with what the end of an answer reports, where it can be."""
        terms, found = completion.usage, None
        if terms is None:
            return
        is_known = prediction.tokens is not None or not completion.reads_cache
        if status == HTTPStatus.OK and is_known and completion.prompts == completion.answers == 1:
            found = self._predictions.compare(prediction, tail, terms)
            self._metrics.compared(prediction, found)
        passage.predicted = prediction.cached_tokens if is_known else None
        passage.reported = found[1] if found else terms.cached_tokens(tail)
        passage.engine_prompt_tokens = terms.prompt_tokens(tail)

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
            others = f" ({held_back} other warnings were held back)" if held_back else ""
            log.warning(text + others, *values)
