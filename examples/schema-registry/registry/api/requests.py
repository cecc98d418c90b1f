"""What is read from requests, and refused with a reason."""

from collections.abc import Collection

from starlette.requests import Request

from registry.core import Draft
from registry.errors import BadRequest, TooLarge
from registry.json_text import Json, read_json
from registry.security import require_metadata, require_subject

LARGEST_BODY = 1024 * 1024
MOST = 1000


def subject_of(request: Request) -> str:
    """Return the subject in a path."""
    return require_subject(request.path_params["subject"])


async def body_of(request: Request) -> Json:
    """Return the JSON of a body, of which no more is read than may be sent."""
    received = bytearray()
    async for part in request.stream():
        received += part
        if len(received) > LARGEST_BODY:
            raise TooLarge(f"a body may have {LARGEST_BODY} bytes")
    return read_json(bytes(received))


async def fields_of(
    request: Request, needed: Collection[str], allowed: Collection[str] = ()
) -> dict[str, Json]:
    """Return the object of a body, which has all fields that are needed, and no unknown one."""
    body = await body_of(request)
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object")
    problems = [f"{name} is missing" for name in needed if name not in body]
    problems += [f"{name} is not known" for name in body if name not in {*needed, *allowed}]
    if problems:
        raise BadRequest(f"the body does not have the fields that it needs: {', '.join(problems)}", problems)
    return body


async def draft_of(request: Request) -> Draft:
    """Return what is to be registered or compared."""
    body = await fields_of(request, ["schema"], ["version", "metadata"])
    version = body.get("version", "")
    if not isinstance(version, str):
        raise BadRequest("version is a text, such as 1.4.0")
    return Draft(
        subject=subject_of(request),
        schema=body["schema"],
        version=version,
        metadata=require_metadata(body.get("metadata", {})),
    )


def limit_of(request: Request) -> int:
    """Return how many entries are wanted."""
    given = request.query_params.get("limit", "100")
    if not (given.isdecimal() and given.isascii() and len(given) <= 4 and 1 <= int(given) <= MOST):
        raise BadRequest(f"limit is a number from 1 to {MOST}")
    return int(given)


def flag_of(request: Request, name: str) -> bool:
    """Return whether a query says `name=true`."""
    return request.query_params.get(name) == "true"
