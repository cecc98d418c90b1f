"""The answers about subjects and their versions."""

from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from registry.api.requests import draft_of, fields_of, flag_of, limit_of, subject_of
from registry.compatibility import parse_mode
from registry.core import Record
from registry.errors import BadRequest
from registry.json_text import read_json
from registry.service import Service


class Schemas:
    """Translates between HTTP and the service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def register(self, request: Request) -> Response:
        """Answer with the version: 201 if it is new, 200 if it was there."""
        record, is_new = await self._service.register(await draft_of(request))
        return answer(record, 201 if is_new else 200)

    async def read(self, request: Request) -> Response:
        """Answer with a version; one that the client has is not sent again."""
        record = await self._service.read(subject_of(request), request.path_params["version"])
        if request.headers.get("if-none-match") == _etag(record):
            return Response(status_code=304, headers={"etag": _etag(record)})
        return answer(record)

    async def read_by_id(self, request: Request) -> Response:
        """Answer with the version that has an id."""
        try:
            identifier = str(UUID(request.path_params["id"]))
        except ValueError as exc:
            raise BadRequest(f"{request.path_params['id'][:80]!r} is not an id") from exc
        return answer(await self._service.read_by_id(identifier))

    async def find(self, request: Request) -> Response:
        """Answer with the versions whose metadata contain those of the query."""
        wanted = read_json(request.query_params.get("metadata", "{}").encode())
        found = await self._service.with_metadata(wanted)
        return JSONResponse({"schemas": [_summary(record) for record in found]})

    async def subjects(self, request: Request) -> Response:
        """Answer with a page of subjects; `next` is what to ask for after it."""
        limit = limit_of(request)
        names = await self._service.subjects(request.query_params.get("after", ""), limit)
        return JSONResponse({"subjects": names, "next": names[-1] if len(names) == limit else None})

    async def versions(self, request: Request) -> Response:
        """Answer with the versions of a subject, in their order."""
        found = await self._service.versions(subject_of(request))
        if not flag_of(request, "deleted"):
            found = [record for record in found if record.state != "deleted"]
        return JSONResponse({"versions": [_summary(record) for record in found]})

    async def deprecate(self, request: Request) -> Response:
        """Deprecate a version and answer with it."""
        return answer(
            await self._service.move(subject_of(request), request.path_params["version"], "deprecated")
        )

    async def delete(self, request: Request) -> Response:
        """Delete a version."""
        await self._service.move(subject_of(request), request.path_params["version"], "deleted")
        return Response(status_code=204)

    async def compare(self, request: Request) -> Response:
        """Answer whether a draft would keep the promise of its subject."""
        problems = await self._service.compare(await draft_of(request))
        return JSONResponse({"compatible": not problems, "problems": list(problems)})

    async def findings(self, request: Request) -> Response:
        """Answer with what a version was compared with."""
        found = await self._service.findings(subject_of(request), request.path_params["version"])
        return JSONResponse({"checks": found})

    async def mode(self, request: Request) -> Response:
        """Answer with what a subject promises."""
        return JSONResponse({"mode": await self._service.mode(subject_of(request))})

    async def set_mode(self, request: Request) -> Response:
        """Have a subject promise something else."""
        mode = parse_mode((await fields_of(request, ["mode"]))["mode"])
        await self._service.set_mode(subject_of(request), mode)
        return JSONResponse({"mode": mode})

    async def validate(self, request: Request) -> Response:
        """Answer whether a document is what a version describes."""
        subject, version = subject_of(request), request.path_params["version"]
        document = (await fields_of(request, ["document"]))["document"]
        problems = await self._service.validate(subject, version, document, keep=flag_of(request, "keep"))
        return JSONResponse({"valid": not problems, "problems": problems})

    async def validations(self, request: Request) -> Response:
        """Answer with how many kept validations there are."""
        subject, version = subject_of(request), request.path_params["version"]
        return JSONResponse(await self._service.validations(subject, version))


def answer(record: Record, status: int = 200) -> Response:
    """Return a record as it is kept; a deprecated one says so in a header, too (RFC 9745)."""
    headers = {"etag": _etag(record)}
    if record.state == "deprecated":
        headers["deprecation"] = f"@{int(record.updated_at)}"
    return Response(record.encode(), status, headers, "application/json")


def _etag(record: Record) -> str:
    return f'"{record.digest[:32]}-{record.revision}"'


def _summary(record: Record) -> dict[str, object]:
    return {
        "id": record.id,
        "subject": record.subject,
        "version": record.version,
        "state": record.state,
        "metadata": record.metadata,
    }
