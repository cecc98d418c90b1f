"""Passes requests on to one of several replicas, the next one each time, and to another one if that fails.

On Kubernetes an ingress does this; here it lets one replica be killed while another one answers. Requests are
sent again, as all of the registry's can be, except deletions: the second answer would be that it is gone.
"""

import argparse
import itertools
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

METHODS = ["GET", "POST", "PUT", "DELETE"]
HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}
"""Headers that are about one connection."""

LIMITS = httpx.Limits(max_connections=500, max_keepalive_connections=100)
TIMEOUT = httpx.Timeout(15, connect=1)


def make_app(replicas: Sequence[str]) -> Starlette:
    """Return the application."""
    turns = itertools.count()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
        async with httpx.AsyncClient(limits=LIMITS, timeout=TIMEOUT, trust_env=False) as client:
            yield {"client": client}

    async def pass_on(request: Request) -> Response:
        body = await request.body()
        headers = [(name, value) for name, value in request.headers.items() if name not in HOP]
        path = str(request.url).removeprefix(str(request.base_url).rstrip("/"))
        first = next(turns) % len(replicas)
        for replica in [*replicas[first:], *replicas[:first]]:
            try:
                answer = await request.state.client.request(
                    request.method, replica + path, headers=headers, content=body
                )
            except httpx.TransportError:
                if request.method == "DELETE":
                    break
                continue
            kept = {name: value for name, value in answer.headers.items() if name not in HOP}
            return Response(answer.content, answer.status_code, kept)
        return PlainTextResponse("no replica answers", 502)

    return Starlette(routes=[Route("/{path:path}", pass_on, methods=METHODS)], lifespan=lifespan)


def main() -> int:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("replicas", nargs="+")
    given = parser.parse_args()
    uvicorn.run(make_app(given.replicas), host=given.host, port=given.port, access_log=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
