"""The gateway as an ASGI application: its parts, put together, and its routes."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from kvsync.access.certificates import EngineTrust
from kvsync.access.files import follow
from kvsync.access.peers import PeerClient
from kvsync.config import GatewayConfig
from kvsync.discovery import Discovery
from kvsync.errors import ConfigError, IndexerError, TokenizeError, UnknownName
from kvsync.gateway.again import STORED_PATHS, StoredRelay
from kvsync.gateway.answers.stored import StoredResponses
from kvsync.gateway.catalog import Catalog, Target
from kvsync.gateway.completion import COMPLETION_PATHS, OTHER_PATHS, Completion
from kvsync.gateway.doors.guard import Guard
from kvsync.gateway.engines import FRESH_TURNS, Engines
from kvsync.gateway.failover.breaker import Breakers
from kvsync.gateway.failover.budget import RetryBudget
from kvsync.gateway.health import HealthMonitor
from kvsync.gateway.load import RunningRequests
from kvsync.gateway.metrics import GatewayMetrics
from kvsync.gateway.operation import logs
from kvsync.gateway.operation.passage import REQUEST_ID, Observed, Passage
from kvsync.gateway.operation.readiness import Readiness
from kvsync.gateway.predictions import Predictions
from kvsync.gateway.proxy import Proxy
from kvsync.gateway.refusal import refused
from kvsync.gateway.relay import ROUTING_HEADERS, Relay, credentials, read_body, understand
from kvsync.gateway.router import Router
from kvsync.gateway.siblings import ALONE, Siblings, Worker
from kvsync.gateway.status import StatusView
from kvsync.gateway.text import TokenIds
from kvsync.gateway.tokens import Tokenizer
from kvsync.index import best_ranks
from kvsync.indexer.choice import indexer_of
from kvsync.pods import Pod
from kvsync.sequence import State
from kvsync.snapshots import peer

RECORDS_S = 0.5
"""How often it is seen to which pods there are records of."""


def create_app(
    config: GatewayConfig, *, discovery: Discovery | None = None, rng: random.Random | None = None
) -> Starlette:
    """Build the gateway. During its lifespan it follows the pods' events and probes the pods.

    `discovery` replaces the list of pods in `config`; `rng` decides between pods that are equally good.
    Raises ConfigError when a file that the configuration names cannot be used.
    """
    return create_apps(config, discovery=discovery, rng=rng)[0]


def create_apps(
    config: GatewayConfig,
    *,
    discovery: Discovery | None = None,
    rng: random.Random | None = None,
    worker: Worker = ALONE,
) -> tuple[Starlette, Starlette | None]:
    """Build the gateway, and what the operators' port serves if there is one. Raises as `create_app`."""
    gateway = Gateway(config, discovery, rng or random.Random(), worker)  # noqa: S311 - no secret
    return gateway.app(), gateway.admin() if config.access.admin else None


class Gateway:
    """The parts of a gateway, and the endpoints around the completions."""

    def __init__(
        self, config: GatewayConfig, discovery: Discovery | None, rng: random.Random, worker: Worker = ALONE
    ) -> None:
        self._config = config
        self._keys = config.access.key_ring()
        self._trust = EngineTrust(config.upstream.tls)
        self._client = PeerClient(self._trust.context, config.upstream.tls.server_name)
        self._indexer = indexer_of(config, discovery)
        self._readiness = Readiness(config, self._states, time.monotonic)
        self._health = HealthMonitor(self._client, self._pods, config.health, config.upstream.credentials)
        load_s = config.routing.engine_load_s
        load = RunningRequests(fresh_s=FRESH_TURNS * load_s)
        self._indexer.share(load)
        self._engines = Engines(
            self._client,
            self._pods,
            self._indexer.doubt,
            unnamed=lambda pod: self._status.unnamed(pod),
            load=load,
            load_s=load_s,
        )
        self._breakers = Breakers(config.upstream.breaker, time.monotonic)
        budget = RetryBudget(config.upstream.retries, time.monotonic)
        self._predictions = Predictions(
            config.predictions,
            state=lambda pod: self._indexer.standing(pod).state,
            emptied=lambda pod: self._indexer.standing(pod).emptied,
            removals=lambda pod: self._indexer.standing(pod).removals,
        )
        self._status = StatusView(
            config=config,
            indexer=self._indexer,
            health=self._health,
            engines=self._engines,
            load=load,
            predictions=self._predictions,
            retries=budget,
            breakers=self._breakers,
            worker=worker,
        )
        self._metrics = GatewayMetrics(self._status)
        self._siblings = Siblings(worker, lambda: generate_latest(self._metrics.registry))
        self._tokenizer = Tokenizer(self._client, config.tokenizer, config.upstream.credentials)
        self._catalog = Catalog(self._pods, self._health.cards, self._health.list_again)
        self._router = self._routing(config, load, rng)
        proxy = Proxy(self._client, config.upstream, self._health, budget)
        stored = StoredResponses(config.routing.stored_responses)
        self._again = StoredRelay(stored, proxy, self._pods)
        self._relay = Relay(
            router=self._router,
            tokenizer=self._tokenizer,
            proxy=proxy,
            load=load,
            predictions=self._predictions,
            metrics=self._metrics,
            config=config,
            budget=budget,
            breakers=self._breakers,
            stored=stored,
        )

    def _routing(self, config: GatewayConfig, load: RunningRequests, rng: random.Random) -> Router:
        return Router(
            config,
            self._indexer,
            catalog=self._catalog,
            state=self._predictions.state,
            cards=self._health.cards,
            healthy=lambda pod: self._health.of(pod).healthy,
            asleep=lambda pod: self._health.of(pod).asleep,
            load=load,
            rng=rng,
        )

    def _pods(self) -> Sequence[Pod]:
        return self._indexer.pods

    def _states(self) -> Sequence[State]:
        return [facts.status.state for facts in self._indexer.picture().sources]

    def app(self) -> Starlette:
        """Return the application for clients, with the operators' routes unless these have their own port.

        Raises ConfigError when traces are wanted and the extra is not installed.
        """
        traces, end_traces = self._tracing()
        return Starlette(
            routes=[
                *(Route(path, self._relay, methods=["POST"]) for path in COMPLETION_PATHS),  # most are
                Route("/v1/models", self.models),
                Route("/v1/models/{id:path}", self.model),
                *self._probed(),
                *([] if self._config.access.admin else self._operators()),
                *(Route(path, self._again, methods=methods) for path, methods in STORED_PATHS.items()),
                *(Route(path, self._relay, methods=["POST"]) for path in self._passed()),
            ],
            exception_handlers={HTTPException: refused, Exception: refused},
            middleware=self._middleware(traces),
            lifespan=partial(self._lifespan, end_traces),
        )

    def admin(self) -> Starlette:
        """Return the application on the operators' own port."""
        handlers = {HTTPException: refused, Exception: refused}
        return Starlette(
            routes=[*self._probed(), *self._operators()],
            exception_handlers=handlers,
            middleware=[self._observed()],
        )

    def _passed(self) -> dict[str, None]:
        return dict.fromkeys((*COMPLETION_PATHS, *OTHER_PATHS, *self._config.upstream.more_paths))

    def _probed(self) -> list[Route]:
        return [Route("/healthz", self.healthz), Route("/readyz", self.readyz)]

    def _operators(self) -> list[Route]:
        return [
            Route("/metrics", self.metrics),
            Route("/status", self.status),
            Route("/index/query", self.query, methods=["POST"]),
            Route("/index/explain", self.explain, methods=["POST"]),
            Route("/index/dump", self.dump),
            Route(peer.PATH, self.give),
        ]

    def _tracing(self) -> tuple[list[Middleware], Callable[[], None]]:
        """Return what makes spans of requests, and what ends it. Raises ConfigError."""
        if not self._config.tracing.endpoint:
            return [], lambda: None
        try:
            from kvsync.gateway.operation.tracing import Traced, provider_of
        except ModuleNotFoundError as exc:
            what = (
                f"{exc.name} is not installed: pip install 'kvsync[tracing]', or leave tracing.endpoint out"
            )
            raise ConfigError("tracing", [what]) from exc
        provider = provider_of(self._config.tracing)
        without = {route.path for route in (*self._probed(), *self._operators())}
        traced = Middleware(Traced, provider=provider, paths={*self._passed()}, without=without)
        return [traced], provider.shutdown

    def _observed(self) -> Middleware:
        return Middleware(Observed, observe=self._observe)

    def _middleware(self, traces: Sequence[Middleware]) -> list[Middleware]:
        # Browsers ask without a key whether they may send one, so CORS comes first.
        cors = [
            Middleware(
                CORSMiddleware,
                allow_origins=self._config.clients.cors_origins,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["*"],
                expose_headers=(*ROUTING_HEADERS, REQUEST_ID.decode()),
            ),
        ]
        registry = self._metrics.registry
        guard = Middleware(
            Guard, keys=self._keys, credentials=self._config.upstream.credentials, registry=registry
        )
        return [
            self._observed(),
            *traces,
            *(cors if self._config.clients.cors_origins else ()),
            *([guard] if self._config.access.wants_keys else ()),
        ]

    def _observe(self, passage: Passage) -> None:
        """Count and write down a request that has ended."""
        self._metrics.traffic.served(passage)
        if self._config.logging.access and logs.is_noted(passage):
            logs.write(passage)

    @asynccontextmanager
    async def _lifespan(self, end_traces: Callable[[], None], _: Starlette) -> AsyncIterator[None]:
        async with self._client, asyncio.TaskGroup() as tasks:
            parts = (
                self._indexer.run(),
                self._siblings.run(),
                self._health.run(),
                self._engines.run(),
                self._keeping_records(),
                follow("client keys", self._keys.files, self._keys.read),
                follow("upstream.tls", self._trust.files, self._trust.read),
            )
            work = [tasks.create_task(part) for part in parts]
            yield
            await self._indexer.save()
            for task in work:
                task.cancel()
            await asyncio.to_thread(end_traces)  # delivers the last spans

    async def _keeping_records(self) -> None:
        while True:
            self._keep_records()
            await asyncio.sleep(RECORDS_S)

    def _keep_records(self) -> None:
        """Begin the records of pods that came, and drop those of pods that went."""
        names = {pod.name for pod in self._indexer.pods}
        self._predictions.keep(self._indexer.pods)
        self._breakers.keep(names)
        self._metrics.keep(names)

    async def models(self, _: Request) -> Response:
        """List every model and adapter that some pod serves."""
        cards = self._catalog.listing()
        return JSONResponse({"object": "list", "data": [card.to_json() for card in cards]})

    async def model(self, request: Request) -> Response:
        """Describe one model or adapter."""
        name = request.path_params["id"]
        cards = {card.id: card for card in self._catalog.listing()}
        if name not in cards:
            raise HTTPException(404, str(UnknownName("model", name, [*cards])))
        return JSONResponse(cards[name].to_json())

    async def healthz(self, _: Request) -> Response:
        """Say that the gateway itself is alive."""
        return PlainTextResponse("alive")

    async def readyz(self, _: Request) -> Response:
        """Say whether a request would be answered: some pod is ready, healthy and awake.

        With `readiness.known_share`, a new gateway also waits until it knows that much of the sources.
        """
        await self._indexer.refresh()
        pods = self._indexer.pods
        health = [(pod, self._health.of(pod)) for pod in pods]
        able = sum(pod.ready and its.healthy and not its.asleep for pod, its in health)
        text, waiting = f"{able} of {len(pods)} pods are ready, healthy and awake", self._readiness.waiting()
        return PlainTextResponse(f"{text}{waiting}", 200 if able and not waiting else 503)

    async def metrics(self, _: Request) -> Response:
        """Write all metrics in Prometheus' text format."""
        await self._indexer.refresh()
        self._keep_records()
        text = await self._siblings.metrics()
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def status(self, _: Request) -> Response:
        """Say everything that is known of pods and sources."""
        await self._indexer.refresh()
        return JSONResponse(self._status.to_json())

    async def _asked(self, request: Request) -> tuple[Completion, Target, TokenIds | None]:
        """Read what a request would be routed by. Raises HTTPException."""
        body = await read_body(request, self._config.clients)
        completion, target = await understand(body, self._router)
        if completion.lora is not None:
            target = replace(target, lora=completion.lora)
        try:
            tokens = await self._tokenizer.tokens(
                completion.prompt, self._router.tokenizers(target), credentials(request)
            )
        except TokenizeError as exc:
            raise HTTPException(503, f"the tokens of the prompt are not known: {exc}") from exc
        return completion, target, tokens

    async def explain(self, request: Request) -> Response:
        """Say where a request would go now, and why there, without sending it."""
        completion, target, tokens = await self._asked(request)
        known = tokens if completion.reads_cache else None
        said = await self._router.explain(target, known, completion.cache_salt)
        return JSONResponse({"model": target.model, "lora": target.lora, **said.to_json()})

    async def query(self, request: Request) -> Response:
        """Say which pod holds how much of a prompt, without sending it anywhere."""
        completion, target, tokens = await self._asked(request)
        if tokens is None:
            raise HTTPException(400, "give the prompt as `token_ids`, `prompt` or `messages`")
        found, version = await self._router.match(target, tokens, completion.cache_salt)
        matched = best_ranks(found)
        return JSONResponse(
            {
                "model": target.model,
                "lora": target.lora,
                "tokens": len(tokens),
                "matched": {pod: match.blocks for pod, match in matched.items()},
                "block_sizes": {pod: match.block_size for pod, match in matched.items()},
                "cached_tokens": {pod: match.cached_tokens for pod, match in matched.items()},
                "index": version._asdict(),
                "states": {pod.name: self._predictions.state(pod.name).value for pod in target.pods},
            }
        )

    async def dump(self, request: Request) -> Response:
        """Write the whole index, or one pod's part of it."""
        await self._indexer.refresh()
        chunks = self._status.dump(request.query_params.get("pod"))
        return StreamingResponse(chunks, media_type="application/json")

    async def give(self, _: Request) -> Response:
        """Write a snapshot of each source, for a gateway that starts (`snapshots.take_from`)."""
        parts = self._indexer.snapshots()
        try:
            first = await anext(parts, b"")
        except IndexerError as error:
            raise HTTPException(503, str(error)) from error
        return StreamingResponse(_all_of(first, parts), media_type=peer.MEDIA_TYPE)


async def _all_of(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in rest:
        yield part
