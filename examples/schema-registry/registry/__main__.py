"""`python -m registry --port 8080`: the registry as a service."""

import argparse
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.api import make_app
from registry.api.operation import Operation
from registry.api.schemas import Schemas
from registry.assembly import assembled, working
from registry.observability import Tally, log_as_json
from registry.security import Access
from registry.settings import Settings, read_settings


class Application:
    """The application, which is complete when its levels are connected."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._access = Access.parse(settings.tokens)
        self._outer = Starlette(lifespan=self._lifespan)
        self._app: ASGIApp = self._outer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await (self._outer if scope["type"] == "lifespan" else self._app)(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        tally = Tally()
        async with assembled(self._settings, tally) as registry, working(registry, self._settings):
            self._app = make_app(
                Schemas(registry.service),
                Operation(registry.tiers, registry.backups, tally),
                access=self._access,
                tally=tally,
            )
            yield


def main() -> int:
    """Serve until ended."""
    parser = argparse.ArgumentParser(prog="registry", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    log_as_json()
    try:
        application = Application(read_settings(os.environ))
    except ValueError as exc:
        print(f"registry: {exc}", file=sys.stderr)
        return 2
    uvicorn.run(
        application,
        host=arguments.host,
        port=arguments.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
