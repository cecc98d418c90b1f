"""Requests as OpenTelemetry spans, as a collector gets them: OTLP over HTTP."""

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import kvsync
from tests.integration.gateway.conftest import ADDRESSES, Site
from tests.integration.gateway.test_gateway import TOKENS
from tests.integration.gateway.test_gateway import Site as Simulated

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Collector:
    """Takes spans and keeps them."""

    url: str
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"post /v1/traces ")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
        for each in ExportTraceServiceRequest.FromString(await reader.readexactly(length)).resource_spans:
            self.resources.append(values(each.resource))
            self.spans += [span for scope in each.scope_spans for span in scope.spans]
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        writer.close()


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run a collector within the block."""
    host = ADDRESSES.next().host
    collector = Collector(f"http://{host}:4318")
    async with await asyncio.start_server(collector.take, host, 4318):
        yield collector


def values(of: Any) -> dict[str, Any]:
    """Return attributes as Python's."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}


async def test_a_span_says_what_routed_a_request() -> None:
    """One for each request of a client, sent at the latest when the gateway ends; operators' are none."""
    async with collecting() as collector, AsyncExitStack() as stack:
        site = Simulated(stack)
        await site.engine("a")
        client = await site.gateway(tracing={"endpoint": collector.url})
        for _ in range(2):
            body = {"model": "base", "prompt": TOKENS, "max_tokens": 2}
            answer = await client.post("/v1/completions", json=body)
            await site.settled(client)
        await client.post("/v1/completions", content=b"{")
        await client.get("/v1/responses/unknown")

    _, span, refused, other = sorted(collector.spans, key=lambda each: each.start_time_unix_nano)
    found = values(span)
    assert (span.name, span.kind) == ("POST /v1/completions", Span.SPAN_KIND_SERVER)
    assert found.pop("kvsync.tokenize_ms") >= 0  # ids need no tokenizer: next to nothing
    assert found.pop("kvsync.first_byte_ms") > 0
    assert found == {
        "http.request.method": "POST",
        "url.path": "/v1/completions",
        "http.response.status_code": 200,
        "gen_ai.request.model": "base",
        "kvsync.pod": "a",
        "kvsync.selection": "prefix_match",
        "kvsync.policy": "prefix",
        "kvsync.source_state": "exact",
        "kvsync.matched_blocks": 4,
        "kvsync.prompt_tokens": len(TOKENS),
        "kvsync.predicted_cached_tokens": 48,
        "kvsync.reported_cached_tokens": 48,
        "kvsync.request_id": answer.headers["x-request-id"],
    }
    assert values(refused)["http.response.status_code"] == 400
    assert (other.name, values(other)["url.path"]) == ("GET", "/v1/responses/unknown")
    resource = collector.resources[0]
    assert (resource["service.name"], resource["service.version"]) == ("kvsync", kvsync.__version__)


@pytest.mark.parametrize("share", [1, 0], ids=["recorded", "left out"])
@pytest.mark.parametrize("flag", ["01", "00", None], ids=["sampled", "not sampled", "no trace"])
async def test_a_trace_goes_on_to_the_engine(flag: str | None, share: float) -> None:
    """Its client's, with the gateway's span in between; the caller says what is recorded, else the share."""
    async with collecting() as collector, AsyncExitStack() as stack:
        site = Site(stack)
        pod = await site.pod("a")
        client = await site.gateway("a", tracing={"endpoint": collector.url, "share": share})
        given = {"traceparent": f"00-{TRACE}-{PARENT}-{flag}", "tracestate": "vendor=1"} if flag else {}
        await client.post("/v1/completions", json={"model": "m", "prompt": [1]}, headers=given)

    (received,) = pod.received
    version, trace, own, passed = received.headers["traceparent"].split("-")
    assert (version, trace == TRACE, own != PARENT) == ("00", flag is not None, True)
    assert received.headers.get("tracestate") == given.get("tracestate")
    is_recorded = flag == "01" if flag else bool(share)
    assert int(passed, 16) % 2 == is_recorded  # the next bit says that the id is random
    seen = [(span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) for span in collector.spans]
    assert seen == ([(trace, own, PARENT if flag else "")] if is_recorded else [])


async def test_failures_are_shown(site: Site) -> None:
    """A request that no pod answered is an error, of a client with a name; a collector may be away."""
    async with collecting() as collector, AsyncExitStack() as stack:
        broken = Site(stack)
        await broken.pod("a", answer=b"")
        access = {"keys": {"team-a": "secret-of-team-a"}}
        tracing = {"endpoint": collector.url}
        client = await broken.open(ADDRESSES.next().host, tracing=tracing, access=access)
        client.headers["authorization"] = "Bearer secret-of-team-a"
        answer = await client.post("/v1/completions", json={"model": "m", "prompt": [1]})
    assert answer.status_code == 503
    (span,) = collector.spans
    assert span.status.code == Status.STATUS_CODE_ERROR
    found = values(span)
    assert (found["http.response.status_code"], found["kvsync.client"]) == (503, "team-a")

    await site.pod("a")
    client = await site.gateway("a", tracing={"endpoint": f"http://{ADDRESSES.next().host}:4318"})
    assert (await client.post("/v1/completions", json={"model": "m", "prompt": [1]})).is_success


async def test_without_a_setting_nothing_is_added(site: Site) -> None:
    """A client's trace goes to the engine as it came, and one that has none gets none."""
    pod = await site.pod("a")
    client = await site.gateway("a")
    given = f"00-{TRACE}-{PARENT}-01"
    for headers in ({"traceparent": given}, {}):
        await client.post("/v1/completions", json={"model": "m", "prompt": [1]}, headers=headers)

    assert [each.headers.get("traceparent") for each in pod.received] == [given, None]


def test_it_is_said_what_to_install() -> None:
    """Where the extra is missing, which this interpreter pretends."""
    program = """
        import sys
        sys.modules["opentelemetry"] = None
        from kvsync.config import GatewayConfig
        from kvsync.errors import ConfigError
        from kvsync.gateway.app import create_app
        pods = [{"name": "a", "model": "m", "host": "127.0.0.1"}]
        create_app(GatewayConfig.model_validate({"pods": pods}))
        try:
            create_app(GatewayConfig.model_validate({"pods": pods, "tracing": {"endpoint": "http://c:4318"}}))
        except ConfigError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "pip install 'kvsync[tracing]'" in done.stdout
