"""Each request as an OpenTelemetry span with what routed it: part of its client's trace, passed to engines.

The names of attributes are OpenTelemetry's (HTTP and GenAI conventions) where it has one, else `kvsync.` and
the name of the field in the log. Without the extra `tracing` this module cannot be imported.
"""

from collections.abc import Set

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Span, SpanKind, StatusCode, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Receive, Scope, Send

from kvsync import __version__
from kvsync.gateway.operation.logs import Fields, fields
from kvsync.gateway.operation.passage import CLIENT, Passage, passage_of
from kvsync.settings.operation import TracingConfig

EXPORT_S = 3
"""What one delivery may take, and so about what the end of a gateway waits for a collector that is gone."""

_STANDARD = {
    "method": "http.request.method",
    "path": "url.path",
    "status": "http.response.status_code",
    "model": "gen_ai.request.model",
}

_CONTEXT = TraceContextTextMapPropagator()


def provider_of(config: TracingConfig) -> TracerProvider:
    """Return what makes spans and delivers them, in a thread of its own, until it is shut down.

    Variables of OpenTelemetry (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`)
    count as usual.
    """
    own = Resource({"service.name": "kvsync", "service.version": __version__})
    provider = TracerProvider(
        resource=own.merge(OTELResourceDetector().detect()),
        sampler=ParentBasedTraceIdRatio(config.share),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(f"{config.endpoint}".rstrip("/") + "/v1/traces", timeout=EXPORT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class Traced:
    """An ASGI application, within Observed, whose requests are spans, but those to paths of `without`.

    A span has its path in its name if that is one of `paths`: names are few.
    """

    def __init__(self, app: ASGIApp, *, provider: TracerProvider, paths: Set[str], without: Set[str]) -> None:
        self._app = app
        self._tracer = provider.get_tracer("kvsync", __version__)
        self._paths = paths
        self._without = without

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in self._without:
            await self._app(scope, receive, send)
            return
        given = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        name = f"{scope['method']} {scope['path']}" if scope["path"] in self._paths else scope["method"]
        span = self._tracer.start_span(name, context=_CONTEXT.extract(given), kind=SpanKind.SERVER)
        with use_span(span, end_on_exit=True):
            passed: dict[str, str] = {}
            _CONTEXT.inject(passed)
            others = [each for each in scope["headers"] if each[0].decode("latin-1") not in _CONTEXT.fields]
            added = [(name.encode(), value.encode()) for name, value in passed.items()]
            scope["headers"] = [*others, *added]
            try:
                await self._app(scope, receive, send)
            finally:
                _conclude(span, passage_of(scope), scope.get(CLIENT, ""))


def attributes(passage: Passage, client: str) -> Fields:
    """Return what is known of a request, under the names of a span."""
    known = fields(passage) | ({"client": client} if client else {})
    known.pop("duration_ms", None)  # the span has its own
    return {_STANDARD.get(name, f"kvsync.{name}"): value for name, value in known.items()}


def _conclude(span: Span, passage: Passage, client: str) -> None:
    span.set_attributes(attributes(passage, client))
    if passage.status >= 500 or passage.outcome == "broken":
        span.set_status(StatusCode.ERROR, passage.outcome)
