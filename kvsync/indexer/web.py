"""The indexer over HTTP: registration, queries, a dump, and metrics.

Paths and fields are those of Mooncake's RFC 1403 and of Dynamo's standalone indexer, as far as they mean the
same here: an answer to a query holds what the clients of either read. Hashes do not: a query by hash takes
those of `kvsync.block_hashes` and refuses others, which would match nothing.
"""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Annotated

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import AliasChoices, BaseModel, Field
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from kvsync.errors import ConfigError, UnknownName
from kvsync.events import Source
from kvsync.index import Match, Prompt
from kvsync.indexer.local import LocalIndexer
from kvsync.indexer.registry import TENANT, Registration, Registry, Unregistration, read
from kvsync.indexer.values import Matches, SourceFacts
from kvsync.pods import Name
from kvsync.sequence import State

Json = dict[str, object]

NOTHING = Match(blocks=0, block_size=1, cached_tokens=0)

MAX_BODY_BYTES = 32 * 2**20
"""Four million token ids, as in `clients.max_body_bytes`."""

TokenId = Annotated[int, Field(ge=0, lt=2**32)]
Hash = Annotated[int, Field(ge=0, lt=2**64)]


class Query(BaseModel):
    """Which prompt to look up, and of which instance if not of all."""

    model: Name = Field(validation_alias=AliasChoices("model_name", "modelname", "model"))
    lora_name: str | None = None
    cache_salt: str | None = None
    tenant_id: str = Field(TENANT, validation_alias=AliasChoices("tenant_id", "routing_group"))
    instance_id: str | int | None = None


class TokenQuery(Query):
    """A prompt by its tokens."""

    token_ids: list[TokenId]


class HashQuery(Query):
    """A prompt by the hashes of its blocks, as `kvsync.block_hashes` makes them with the indexer's seed."""

    own_hashes: list[Hash]
    block_size: Annotated[int, Field(ge=1)]


def answered(found: Matches, known: Sequence[SourceFacts], instance: str | None) -> Json:
    """Return an answer for clients of either kind; all numbers are tokens.

    For those of the RFC what each tier holds of each instance's prefix; for Dynamo's, of the instances that
    hold any, what the engine finds down to each tier.
    """
    ranks: dict[str, dict[str, int]] = defaultdict(dict)
    states: dict[str, dict[str, str]] = defaultdict(dict)
    for facts in known:
        source = facts.status.source
        if instance in (None, source.pod):
            match = found.matched.get(source, NOTHING)
            ranks[source.pod][str(source.rank)] = match.blocks * match.block_size
            states[source.pod][str(source.rank)] = facts.status.state.value
    most = {pod: max(its.values()) for pod, its in ranks.items()}
    holders = {pod: its for pod, its in ranks.items() if most[pod]}
    return {
        TENANT: {
            pod: {"longest_matched": most[pod], "GPU": most[pod], "CPU": 0, "DISK": 0, "DP": its}
            for pod, its in ranks.items()
        },
        "scores": holders,
        "frequencies": [],
        "instances": {
            pod: {"longest_matched": most[pod], "dp": its} | dict.fromkeys(("gpu", "cpu", "disk"), most[pod])
            for pod, its in holders.items()
        },
        "states": states,
        "version": found.version._asdict(),
    }


class IndexerApi:
    """The endpoints of an indexer."""

    def __init__(self, indexer: LocalIndexer, registry: Registry) -> None:
        self._indexer = indexer
        self._registry = registry
        self._metrics = CollectorRegistry()
        self._metrics.register(_Metrics(indexer))
        ProcessCollector(registry=self._metrics)

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/register", self.register, methods=["POST"]),
                Route("/unregister", self.unregister, methods=["POST"]),
                Route("/workers", self.workers),
                Route("/query", self.query, methods=["POST"]),
                Route("/query_by_hash", self.query_by_hash, methods=["POST"]),
                Route("/dump", self.dump),
                Route("/health", self.health),
                Route("/healthz", self.health),
                Route("/metrics", self.metrics),
            ],
            exception_handlers={ConfigError: _refused, UnknownName: _unknown, HTTPException: _failed},
        )

    async def register(self, request: Request) -> Response:
        """Follow a publisher."""
        registration = read(Registration, await _body(request))
        assert isinstance(registration, Registration)
        self._registry.register(registration)
        said = {"status": "registered successfully", "instance_id": registration.instance_id}
        return JSONResponse(said, 201)

    async def unregister(self, request: Request) -> Response:
        """Follow an instance, or one of its ranks, no longer, and forget what it holds."""
        asked = read(Unregistration, await _body(request))
        assert isinstance(asked, Unregistration)
        gone = self._registry.unregister(asked.instance_id, asked.dp_rank)
        removed = [f"{name}|{TENANT}|{rank}" for name, rank in gone]
        return JSONResponse({"status": "unregistered successfully", "removed_instances": removed})

    async def workers(self, _: Request) -> Response:
        """List the publishers of each instance, registered or not, by rank."""
        endpoints: dict[str, dict[str, str]] = defaultdict(dict)
        for facts in self._indexer.picture().sources:
            source = facts.status.source
            endpoints[source.pod][str(source.rank)] = facts.status.endpoint
        return JSONResponse([{"instance_id": name, "endpoints": its} for name, its in endpoints.items()])

    async def query(self, request: Request) -> Response:
        """Say what each instance holds of a prompt."""
        asked = read(TokenQuery, await _body(request))
        assert isinstance(asked, TokenQuery)
        prompt = Prompt(
            model=asked.model, lora=asked.lora_name or "", tokens=asked.token_ids, salt=asked.cache_salt
        )
        return self._answered(asked, self._indexer.look_up(prompt))

    async def query_by_hash(self, request: Request) -> Response:
        """Say what each instance holds of a prompt that is given by our own hashes."""
        body = await _body(request)
        if foreign := [name for name in ("seq_hashes", "block_hashes", "block_hash") if name in body]:
            said = (
                f"{foreign[0]}: blocks are not filed by these hashes: give own_hashes (kvsync.block_hashes)"
            )
            raise ConfigError("body", [f"{said}, or token_ids at /query"])
        asked = read(HashQuery, body)
        assert isinstance(asked, HashQuery)
        found = self._indexer.look_up_hashes(
            asked.model, asked.lora_name or "", asked.own_hashes, asked.block_size
        )
        return self._answered(asked, found)

    def _answered(self, asked: Query, found: Matches) -> Response:
        if asked.tenant_id != TENANT:
            raise ConfigError("body", [f"tenant_id: only {TENANT!r} is known; tenants differ by cache_salt"])
        known = [
            facts for facts in self._indexer.picture().sources if facts.status.source.model == asked.model
        ]
        instance = None if asked.instance_id is None else str(asked.instance_id)
        return JSONResponse(answered(found, known, instance))

    async def dump(self, request: Request) -> Response:
        """Write the whole index, or one instance's part of it."""
        wanted = request.query_params.get("instance_id")
        sources = [facts.status.source for facts in self._indexer.picture().sources]
        chunks = self._chunks([each for each in sources if wanted in (None, each.pod)])
        return StreamingResponse(chunks, media_type="application/json")

    async def _chunks(self, sources: Sequence[Source]) -> AsyncIterator[str]:
        yield '{"sources": ['
        separator = ""
        for source in sources:
            if dump := await self._indexer.dump(source):
                yield separator + json.dumps(dump.to_json())
                separator = ", "
        yield "]}"

    async def health(self, _: Request) -> Response:
        """Say that the indexer answers."""
        return PlainTextResponse("alive")

    async def metrics(self, _: Request) -> Response:
        """Write all metrics in Prometheus' text format."""
        return Response(generate_latest(self._metrics), media_type=CONTENT_TYPE_LATEST)


class _Metrics(Collector):
    """What is known, read when it is asked for."""

    def __init__(self, indexer: LocalIndexer) -> None:
        self._indexer = indexer

    def describe(self) -> list[Metric]:
        """Name nothing in advance: the registry would have to scrape for that."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read everything now, under the names that a gateway has for it."""
        known = self._indexer.picture()
        yield GaugeMetricFamily(
            "kvsync_index_bytes", "Memory that the index takes, estimated.", known.bytes_estimated
        )
        labels = ["pod", "rank"]
        blocks = GaugeMetricFamily("kvsync_index_blocks", "Blocks the source holds.", labels=labels)
        state = GaugeMetricFamily(
            "kvsync_source_state", "1 for the state the source is in.", labels=[*labels, "state"]
        )
        for facts in known.sources:
            source = facts.status.source
            where = [source.pod, str(source.rank)]
            blocks.add_metric(where, facts.blocks)
            for one in State:
                state.add_metric([*where, one.value], facts.status.state is one)
        events = CounterMetricFamily("kvsync_events", "Events applied.", labels=["pod", "kind"])
        for names, count in known.events.items():
            events.add_metric(names, count)
        yield from (blocks, state, events)


async def _body(request: Request) -> Json:
    """Read a request's body. Raises ConfigError, HTTPException 413."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ConfigError("body", [f"it is no JSON: {error}"]) from error
    if not isinstance(body, dict):
        raise ConfigError("body", ["it is no JSON object"])
    return body


async def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _unknown(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 404)
