"""What the registry does for its clients, whatever they speak."""

from registry.compatibility import Mode, check
from registry.core import (
    LATEST,
    Accepted,
    Draft,
    Existing,
    Key,
    Record,
    Refused,
    State,
    decide,
    moved,
    new_id,
    parse_version,
    precedence,
)
from registry.errors import Conflict, NotFound
from registry.json_text import Json, canonical, digest
from registry.storage import tables
from registry.storage.postgres import Connection
from registry.storage.tiers import Tiers
from registry.validation import problems_of, require_schema

PAGE = 1000
"""How many entries an answer has at most."""


class Service:
    """Registers, reads, compares and validates. Raises the errors of registry.errors."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers

    async def register(self, draft: Draft) -> tuple[Record, bool]:
        """Register a version, and return it and whether it is new. Raises Conflict with every problem."""
        require_schema(draft.schema)

        async def work(connection: Connection) -> Record | Existing | Refused:
            mode = await tables.lock_subject(connection, draft.subject)
            decision = decide(draft, await tables.versions_of(connection, draft.subject), mode)
            if not isinstance(decision, Accepted):
                return decision
            record = await tables.insert(connection, _record(draft, decision.version))
            await tables.note_findings(connection, draft.subject, decision.version, decision.findings)
            await tables.mark_unsettled(connection, record.key)
            return record

        match await self._tiers.run(work):
            case Existing(record):
                return record, False
            case Refused(why, problems):
                raise Conflict(why, problems)
            case Record() as record:
                await self._tiers.written(record)
                return record, True

    async def read(self, subject: str, version: str) -> Record:
        """Return a version; "latest" is the highest that is no prerelease, if there is one."""
        if version == LATEST:
            version = await self._latest(subject)
        return await self._tiers.read(Key(subject, str(parse_version(version))))

    async def read_by_id(self, identifier: str) -> Record:
        """Return the version with an id."""
        record = await self._tiers.run(lambda connection: tables.find_by_id(connection, identifier))
        if record is None:
            raise NotFound(f"there is no schema {identifier}")
        return await self._tiers.read(record.key)

    async def move(self, subject: str, version: str, to: State) -> Record:
        """Deprecate or delete a version, and return it."""
        key = Key(subject, str(parse_version(version)))

        async def work(connection: Connection) -> Record:
            record = await tables.find(connection, key, lock=True)
            if record is None:
                raise NotFound(f"{subject} has no version {version}")
            if moved(record.state, to) == record.state:
                return record
            await tables.mark_unsettled(connection, key)
            return await tables.set_state(connection, key, to)

        record = await self._tiers.run(work)
        await self._tiers.written(record)
        return record

    async def versions(self, subject: str) -> list[Record]:
        """Return the versions of a subject in their order, deleted ones too. Raises NotFound."""
        found = await self._tiers.run(lambda connection: tables.versions_of(connection, subject))
        if not found:
            raise NotFound(f"there is no subject {subject}")
        return sorted(found, key=lambda record: precedence(record.version))

    async def subjects(self, after: str, limit: int) -> list[str]:
        """Return the names of subjects in their order, those after a name."""
        return await self._tiers.run(lambda connection: tables.subject_names(connection, after, limit))

    async def with_metadata(self, wanted: Json) -> list[Record]:
        """Return the versions whose metadata contain this."""
        return await self._tiers.run(lambda connection: tables.with_metadata(connection, wanted, PAGE))

    async def compare(self, draft: Draft) -> tuple[str, ...]:
        """Return why a draft would break the promise of its subject, and register nothing."""
        require_schema(draft.schema)
        mode = await self.mode(draft.subject)
        living = [r for r in await self.versions(draft.subject) if r.state != "deleted"]
        if draft.version:
            wanted = parse_version(draft.version)
            living = [r for r in living if precedence(r.version) < wanted]
        if not living:
            return ()
        major = wanted.major if draft.version else precedence(living[-1].version).major
        peers = [(r.version, r.schema) for r in living if precedence(r.version).major == major]
        findings = check(draft.schema, peers, mode)
        return tuple(f"{found.version}: {problem}" for found in findings for problem in found.problems)

    async def findings(self, subject: str, version: str) -> list[dict[str, Json]]:
        """Return what a version was compared with when it was registered."""
        key = Key(subject, str(parse_version(version)))
        return await self._tiers.run(lambda connection: tables.findings_of(connection, key))

    async def mode(self, subject: str) -> Mode:
        """Return the compatibility that a subject promises. Raises NotFound."""
        mode = await self._tiers.run(lambda connection: tables.subject_mode(connection, subject))
        if mode is None:
            raise NotFound(f"there is no subject {subject}")
        return mode

    async def set_mode(self, subject: str, mode: Mode) -> None:
        """Have a subject promise this from now on; what is registered stays."""
        await self._tiers.run(lambda connection: tables.set_subject_mode(connection, subject, mode))

    async def validate(
        self, subject: str, version: str, document: Json, *, keep: bool
    ) -> list[dict[str, str]]:
        """Return why a document is not what a version describes, and with `keep`, keep the result."""
        record = await self.read(subject, version)
        problems = problems_of(document, canonical(record.schema))
        if keep:
            await self._tiers.run(lambda conn: tables.note_validation(conn, record.id, problems))
        return problems

    async def validations(self, subject: str, version: str) -> dict[str, int]:
        """Return how many documents were valid and invalid, of those whose results were kept."""
        record = await self.read(subject, version)
        return await self._tiers.run(lambda connection: tables.validations_of(connection, record.id))

    async def _latest(self, subject: str) -> str:
        living = [record for record in await self.versions(subject) if record.state != "deleted"]
        if not living:
            raise NotFound(f"all versions of {subject} were deleted")
        released = [record for record in living if not precedence(record.version).prerelease]
        return (released or living)[-1].version


def _record(draft: Draft, version: str) -> Record:
    return Record(
        id=new_id(),
        subject=draft.subject,
        version=version,
        schema=draft.schema,
        digest=digest(draft.schema),
        metadata=draft.metadata,
    )
