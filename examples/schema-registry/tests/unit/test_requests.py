"""What is read from requests, and what errors become: the handlers, without levels behind them."""

from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from registry.api.app import _counted, _guarded
from registry.api.requests import LARGEST_BODY, draft_of, fields_of, limit_of
from registry.core import Draft
from registry.errors import Conflict, Unavailable
from registry.observability import Tally
from registry.security import OPEN, Access

pytestmark = pytest.mark.anyio


class Requests:
    """Receives requests as handlers do, and keeps what they were read as."""

    def __init__(self, read: Any, access: Access = OPEN) -> None:
        self.found: Any = None
        self.tally = Tally()

        async def handle(request: Request) -> Response:
            self.found = read(request)
            if hasattr(self.found, "__await__"):
                self.found = await self.found
            return JSONResponse({})

        handler = _counted("/{subject}", _guarded(handle, "writer", access), self.tally)
        app = Starlette(routes=[Route("/{subject}", handler, methods=["POST"])])
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://registry")

    async def post(self, path: str = "/orders", **sent: Any) -> httpx.Response:
        return await self._client.post(path, **sent)


async def test_a_draft_is_read() -> None:
    """Without a version it has none."""
    requests = Requests(draft_of)
    answer = await requests.post(json={"schema": {"type": "null"}, "metadata": {"team": "a"}})
    assert answer.status_code == 200
    assert requests.found == Draft(subject="orders", schema={"type": "null"}, metadata={"team": "a"})


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ({}, "schema is missing"),
        ({"schema": {}, "shema": 1}, "shema is not known"),
        ([], "not a JSON object"),
        ({"schema": {}, "version": 1}, "version is a text"),
        ({"schema": {}, "metadata": []}, "metadata is a JSON object"),
    ],
)
async def test_a_malformed_draft_is_refused(sent: Any, why: str) -> None:
    """With 400, and the reason."""
    answer = await Requests(draft_of).post(json=sent)
    assert answer.status_code == 400
    assert why in answer.json()["error"]


async def test_a_body_too_large_is_not_read_to_its_end() -> None:
    """The answer is 413."""
    answer = await Requests(lambda request: fields_of(request, [])).post(content=b" " * (LARGEST_BODY + 1))
    assert answer.status_code == 413


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "٣", "1e2"])
async def test_limits_have_bounds(limit: str) -> None:
    """From 1 to 1000."""
    requests = Requests(limit_of)
    assert (await requests.post("/orders", params={"limit": limit})).status_code == 400
    await requests.post("/orders", params={"limit": "1000"})
    assert requests.found == 1000


async def test_refusals_are_answers_with_reasons() -> None:
    """The status is that of the error; who should come again is told when."""

    def refuse(request: Request) -> None:
        raise Conflict("no", ["first", "second"])

    def fail(request: Request) -> None:
        raise Unavailable("later")

    refused = await Requests(refuse).post()
    assert (refused.status_code, refused.json()) == (409, {"error": "no", "problems": ["first", "second"]})
    failed = await Requests(fail).post()
    assert (failed.status_code, failed.headers["retry-after"]) == (503, "2")


async def test_a_mistake_of_ours_is_500_and_says_nothing_of_the_inside() -> None:
    """What happened is in the log."""

    def break_down(request: Request) -> None:
        raise ZeroDivisionError("secret")

    requests = Requests(break_down)
    answer = await requests.post()
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert b'status="500"' in requests.tally.exposition({})


async def test_who_may_not_do_it_is_told_how() -> None:
    """401 asks for a token, 403 names the role."""
    requests = Requests(draft_of, Access({"r" * 16: "reader"}))
    unknown = await requests.post(json={"schema": {}})
    assert (unknown.status_code, unknown.headers["www-authenticate"]) == (401, "Bearer")
    reader = await requests.post(json={"schema": {}}, headers={"authorization": "Bearer " + "r" * 16})
    assert reader.status_code == 403
