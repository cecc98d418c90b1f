"""The gateway's HTTP interface."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from objectstore.errors import Invalid, ObjectStoreError, TooLarge
from objectstore.fleet import Server
from objectstore.gateway.storage import StorageClient
from objectstore.gateway.store import Store
from objectstore.gateway.upkeep import Upkeep
from objectstore.metadata import Metadata, StoredObject, connected
from objectstore.names import content_type, file_name
from objectstore.settings import Settings

SHA256 = "x-checksum-sha256"
"""The header with the checksum of a file, in hexadecimal digits."""

PAGE, LONGEST_PAGE = 100, 1000

log = logging.getLogger(__name__)


def gateway(settings: Settings) -> Starlette:
    """Return the application."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        storage = StorageClient(settings.storage_timeout_s)
        pool = connected(settings.database, connections=settings.connections, wait_s=settings.pool_wait_s)
        async with pool as metadata:
            store = Store(metadata, storage, settings)
            upkeep = Upkeep(metadata, storage, store, settings)
            for server, address in settings.servers.items():
                await metadata.add_server(server, address)
            await upkeep.ask_all()
            app.state.parts = Endpoints(settings, metadata, store, upkeep)
            caring = asyncio.create_task(upkeep.run())
            caring.add_done_callback(_end_without_care)
            yield
            caring.cancel()
            with suppress(asyncio.CancelledError):
                await caring
        await storage.close()

    routes = [
        Route("/health", _health),
        Route("/files", _list),
        Route("/files/{name}", _upload, methods=["PUT"]),
        Route("/files/{name}", _download, methods=["GET", "HEAD"]),
        Route("/files/{name}", _delete, methods=["DELETE"]),
        Route("/files/{name}/metadata", _metadata),
        Route("/servers", _servers),
        Route("/servers/{id}", _add_server, methods=["PUT"]),
        Route("/servers/{id}", _remove_server, methods=["DELETE"]),
    ]
    handlers = {ObjectStoreError: _refused, ClientDisconnect: _left}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)  # type: ignore[arg-type]


def _end_without_care(caring: asyncio.Task[None]) -> None:
    """End the gateway when upkeep has failed: without heartbeats it would believe what was."""
    if not caring.cancelled() and (failure := caring.exception()):
        log.critical("upkeep failed, and the gateway ends", exc_info=failure)
        signal.raise_signal(signal.SIGTERM)


class Endpoints:
    """What the endpoints work with."""

    def __init__(self, settings: Settings, metadata: Metadata, store: Store, upkeep: Upkeep) -> None:
        self.settings, self.metadata, self.store, self.upkeep = settings, metadata, store, upkeep


def _parts(request: Request) -> Endpoints:
    parts: Endpoints = request.app.state.parts
    return parts


async def _health(request: Request) -> Response:
    """Ready means that files can be stored."""
    taking = sorted(_parts(request).store.fleet.ring.servers)
    return JSONResponse({"servers": taking}, 200 if taking else 503)


async def _list(request: Request) -> Response:
    limit = _number(request, "limit", PAGE)
    if not 1 <= limit <= LONGEST_PAGE:
        raise Invalid(f"limit is {limit}, and not from 1 to {LONGEST_PAGE}")
    prefix, after = request.query_params.get("prefix", ""), request.query_params.get("after", "")
    found = await _parts(request).metadata.page(prefix=prefix, after=after, limit=limit + 1)
    page = found[:limit]
    following = page[-1].name if len(found) > limit else None
    return JSONResponse({"files": [each.described() for each in page], "next": following})


async def _upload(request: Request) -> Response:
    name, kind = file_name(request.path_params["name"]), content_type(request.headers.get("content-type"))
    parts, announced = _parts(request), request.headers.get("content-length", "0")
    if int(announced) > parts.settings.max_bytes:
        raise TooLarge(f"a file may have {parts.settings.max_bytes} bytes at most, not {announced}")
    stored = await parts.store.upload(name, kind, request.stream(), request.headers.get(SHA256))
    return JSONResponse(stored.described(), 201, {"location": f"/files/{name}"})


async def _download(request: Request) -> Response:
    parts = _parts(request)
    stored = await parts.metadata.find(file_name(request.path_params["name"]))
    headers = _headers(stored)
    if request.method == "HEAD":
        return Response(headers=headers)
    content = parts.store.download(stored)
    # The first chunk comes before the status is sent, so that a file that cannot be read is a 503.
    first = await anext(content, b"")
    return StreamingResponse(_joined(first, content), headers=headers)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for content in rest:
        yield content


async def _metadata(request: Request) -> Response:
    stored = await _parts(request).metadata.find(file_name(request.path_params["name"]))
    return JSONResponse(stored.described())


async def _delete(request: Request) -> Response:
    await _parts(request).metadata.delete(file_name(request.path_params["name"]))
    return Response(status_code=204)


async def _servers(request: Request) -> Response:
    fleet = _parts(request).store.fleet
    return JSONResponse(
        {"servers": [_described(each, fleet.is_alive(each)) for each in fleet.servers.values()]}
    )


async def _add_server(request: Request) -> Response:
    try:
        address = (await request.json())["address"]
    except (ValueError, KeyError, TypeError) as exc:
        raise Invalid('the body is not JSON such as {"address": "10.0.0.7:9000"}') from exc
    await _parts(request).upkeep.add(request.path_params["id"], address)
    return Response(status_code=201)


async def _remove_server(request: Request) -> Response:
    moved = await _parts(request).upkeep.remove(request.path_params["id"])
    return JSONResponse({"moved_chunks": moved})


async def _refused(request: Request, exc: ObjectStoreError) -> Response:
    if exc.status >= 500:
        log.warning("%s %s: %s", request.method, request.url.path, exc)
    headers = {"retry-after": "1"} if exc.status == 503 else {}
    if request.method == "PUT":
        headers["connection"] = "close"  # the rest of the body is not read
    return JSONResponse({"error": str(exc)}, exc.status, headers)


async def _left(request: Request, exc: ClientDisconnect) -> Response:
    log.info("%s %s: the client left", request.method, request.url.path)
    return Response(status_code=400)


def _headers(stored: StoredObject) -> dict[str, str]:
    return {
        "content-length": str(stored.size),
        "content-type": stored.content_type,
        "etag": f'"{stored.sha256}"',
        SHA256: stored.sha256,
    }


def _described(server: Server, is_alive: bool) -> dict[str, object]:
    return {
        "id": server.id,
        "address": server.address,
        "is_alive": is_alive,
        "is_leaving": server.is_leaving,
        "free_bytes": server.free_bytes,
        "total_bytes": server.total_bytes,
    }


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name, str(default))
    if not given.isdecimal():
        raise Invalid(f"{name} is {given[:20]!r}, and not a number")
    return int(given)
