"""The application: routes, who may use them, errors as JSON, and every answer counted."""

import logging
import time
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from registry.api.operation import Operation
from registry.api.schemas import Schemas
from registry.errors import RegistryError
from registry.observability import Tally
from registry.security import Access, Role

log = logging.getLogger(__name__)

RETRY_AFTER_S = 2
"""What a client is told to wait while the database is away: as long as its circuit breaker does."""

Handler = Callable[[Request], Awaitable[Response]]

OF_A_VERSION = "/subjects/{subject}/versions/{version}"


def make_app(schemas: Schemas, operation: Operation, *, access: Access, tally: Tally) -> ASGIApp:
    """Return the ASGI application."""

    def route(path: str, method: str, role: Role | None, handler: Handler) -> Route:
        return Route(path, _counted(path, _guarded(handler, role, access), tally), methods=[method])

    routes = [
        route(OF_A_VERSION, "GET", "reader", schemas.read),
        route("/subjects/{subject}/versions", "POST", "writer", schemas.register),
        route(f"{OF_A_VERSION}/validate", "POST", "reader", schemas.validate),
        route(f"{OF_A_VERSION}/validations", "GET", "reader", schemas.validations),
        route(f"{OF_A_VERSION}/checks", "GET", "reader", schemas.findings),
        route(f"{OF_A_VERSION}/deprecate", "POST", "writer", schemas.deprecate),
        route(OF_A_VERSION, "DELETE", "writer", schemas.delete),
        route("/subjects", "GET", "reader", schemas.subjects),
        route("/subjects/{subject}/versions", "GET", "reader", schemas.versions),
        route("/subjects/{subject}/check", "POST", "reader", schemas.compare),
        route("/subjects/{subject}/compatibility", "GET", "reader", schemas.mode),
        route("/subjects/{subject}/compatibility", "PUT", "writer", schemas.set_mode),
        route("/schemas", "GET", "reader", schemas.find),
        route("/schemas/{id}", "GET", "reader", schemas.read_by_id),
        route("/healthz", "GET", None, operation.healthz),
        route("/readyz", "GET", None, operation.readyz),
        route("/metrics", "GET", None, operation.metrics),
        route("/stats", "GET", None, operation.stats),
        route("/admin/purge", "POST", "admin", operation.purge),
        route("/admin/settle", "POST", "admin", operation.settle),
        route("/admin/backups/{name}", "POST", "admin", operation.back_up),
        route("/admin/backups/{name}/restore", "POST", "admin", operation.restore),
    ]
    return Starlette(routes=routes)


def _guarded(handler: Handler, role: Role | None, access: Access) -> Handler:
    """Let in who may do it, and turn every refusal into an answer."""

    async def handle(request: Request) -> Response:
        try:
            if role:
                access.require(role, request.headers.get("authorization", ""))
            return await handler(request)
        except RegistryError as exc:
            headers = {"retry-after": str(RETRY_AFTER_S)} if exc.status == 503 else {}
            if exc.status == 401:
                headers["www-authenticate"] = "Bearer"
            said = {"error": str(exc), "problems": list(exc.problems)}
            return JSONResponse(said, exc.status, headers)

    return handle


def _counted(path: str, handler: Handler, tally: Tally) -> Handler:
    """Count the answer; what is no refusal of ours is logged and answered with 500."""

    async def handle(request: Request) -> Response:
        started = time.perf_counter()
        try:
            response = await handler(request)
        except Exception:
            log.exception("%s %s", request.method, request.url.path)
            response = JSONResponse({"error": "this is a mistake of the registry's", "problems": []}, 500)
        tally.answered(f"{request.method} {path}", response.status_code, time.perf_counter() - started)
        return response

    return handle
