"""Errors in the shape that OpenAI clients expect, with vLLM's type names and codes."""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


def refusal(status: int, message: str) -> Response:
    """Return the answer of a request that failed: 404 is a `NotFoundError`, and so on."""
    kind = HTTPStatus(status).phrase.title().replace(" ", "").removesuffix("Error") + "Error"
    error = {"message": message, "type": kind, "param": None, "code": status}
    # A body that was refused unread would be taken for the connection's next request.
    headers = {"connection": "close"} if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else None
    return JSONResponse({"error": error}, status, headers)


def refused(request: Request, exc: Exception) -> Response:
    """Answer a request that an endpoint or the table of routes refused."""
    status = exc.status_code if isinstance(exc, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    detail = exc.detail if isinstance(exc, HTTPException) else "the gateway failed; its log says why"
    return refusal(status, f"{request.method} {request.url.path}: {detail}")
