"""The admin interface of a simulator: its whole truth, its faults, and restarts. Not for users of the API."""

import asyncio
import json
import random

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kvsync.simulator.channel import Faults
from kvsync.simulator.churn import Churn, churn
from kvsync.simulator.openai import ApiError, bad_request
from kvsync.simulator.pod import SimulatedPod
from kvsync.simulator.server import error_response, read_json


def create_app(pod: SimulatedPod) -> Starlette:
    """The admin interface of one pod."""
    admin = Admin(pod)
    routes = [
        Route("/blocks", admin.blocks),
        Route("/sequence", admin.sequence),
        Route("/clock", admin.clock),
        Route("/faults", admin.faults),
        Route("/faults", admin.switch, methods=["PUT"]),
        Route("/restart", admin.restart, methods=["POST"]),
        Route("/clear", admin.clear, methods=["POST"]),
        Route("/churn", admin.churn, methods=["POST"]),
        Route("/published", admin.published),
    ]
    return Starlette(routes=routes, exception_handlers={ApiError: error_response})


class Admin:
    """The handlers of one pod's admin routes."""

    def __init__(self, pod: SimulatedPod) -> None:
        self._pod = pod
        self._rng = random.Random(f"{pod.options.seed} {pod.options.name}")  # noqa: S311 - no secret

    async def blocks(self, _: Request) -> Response:
        """The block table at the last published sequence number."""
        return JSONResponse(self._pod.blocks())

    async def sequence(self, _: Request) -> Response:
        """The last published sequence number (-1: none): what to wait for, without the size of `blocks`."""
        return JSONResponse({"epoch": self._pod.epoch, "seq": self._pod.publisher.next_sequence - 1})

    async def clock(self, _: Request) -> Response:
        """The engine's clock, in seconds since 1970."""
        return JSONResponse({"wall": self._pod.wall()})

    async def faults(self, _: Request) -> Response:
        """The faults in force, and how often those of the event channel struck."""
        return JSONResponse(self._pod.channel.status())

    async def switch(self, request: Request) -> Response:
        """Set all faults; one that is left out is switched off."""
        try:
            faults = Faults.parse(await read_json(request))
        except ValueError as exc:
            raise bad_request(str(exc)) from exc
        self._pod.channel.switch(faults)
        return await self.faults(request)

    async def published(self, _: Request) -> Response:
        """Everything it published, including what was lost on the way, if it was started with a history."""
        history = self._pod.options.history
        lines = history.read_bytes().splitlines() if history else []
        return JSONResponse({"records": [json.loads(line) for line in lines]})

    async def churn(self, request: Request) -> Response:
        """Compute prompts without requests, at a rate; answers with their number when all are done."""
        try:
            wanted = Churn.parse(await read_json(request))
        except ValueError as exc:
            raise bad_request(str(exc)) from exc
        return JSONResponse({"prompts": await churn(self._pod, wanted, self._rng, sleep=asyncio.sleep)})

    async def restart(self, _: Request) -> Response:
        """Restart the engine in place: cache and requests are lost, nothing is announced."""
        self._pod.restart()
        return JSONResponse({"epoch": self._pod.epoch})

    async def clear(self, _: Request) -> Response:
        """Empty the cache and announce it; 409 while requests run."""
        cleared = self._pod.engine.clear()
        return JSONResponse({"cleared": cleared}, 200 if cleared else 409)
