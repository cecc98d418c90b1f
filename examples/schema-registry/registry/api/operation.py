"""The answers for those who run the registry."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from registry.api.requests import fields_of
from registry.backup import Backups
from registry.errors import BadRequest, Unavailable
from registry.observability import Tally
from registry.storage.postgres import Connection
from registry.storage.tiers import Tiers

CACHES = ("memory", "redis", "s3")


class Operation:
    """Health, numbers, backups, and emptying levels."""

    def __init__(self, tiers: Tiers, backups: Backups, tally: Tally) -> None:
        self._tiers = tiers
        self._backups = backups
        self._tally = tally

    async def healthz(self, request: Request) -> Response:
        """Answer while the process lives."""
        return JSONResponse({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        """Answer with 200 if the database can be used."""
        try:
            await self._tiers.run(_nothing)
        except Unavailable as exc:
            return JSONResponse({"status": "not ready", "why": str(exc)}, 503)
        return JSONResponse({"status": "ready"})

    async def stats(self, request: Request) -> Response:
        """Answer with what levels were asked since the start, and the states of their circuit breakers."""
        return JSONResponse({"levels": self._tally.levels(), "breakers": self._tiers.breaker_states()})

    async def metrics(self, request: Request) -> Response:
        """Answer with everything that is counted, as Prometheus reads it."""
        written = self._tally.exposition(self._tiers.breaker_states())
        return Response(written, media_type="text/plain; version=0.0.4")

    async def purge(self, request: Request) -> Response:
        """Empty levels above the database."""
        names = (await fields_of(request, ["levels"]))["levels"]
        if not isinstance(names, list) or not all(name in CACHES for name in names):
            raise BadRequest(f"levels is a list of {', '.join(CACHES)}")
        await self._tiers.clear(names)
        return Response(status_code=204)

    async def settle(self, request: Request) -> Response:
        """Bring to all levels what was left for later."""
        return JSONResponse({"settled": await self._tiers.settle_rest()})

    async def back_up(self, request: Request) -> Response:
        """Make a backup."""
        return JSONResponse({"records": await self._backups.make(request.path_params["name"])}, 201)

    async def restore(self, request: Request) -> Response:
        """Add what is missing from a backup."""
        return JSONResponse({"added": await self._backups.restore(request.path_params["name"])})


async def _nothing(connection: Connection) -> None:
    await connection.execute("SELECT 1")
