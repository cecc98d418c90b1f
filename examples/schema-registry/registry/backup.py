"""Backups: what subjects promise and every record, a line of JSON each, with a digest, as an object in S3.

A restore adds what is missing and leaves what is there; then every record is unsettled, so that all levels
get it again.
"""

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256

from registry.compatibility import Mode, parse_mode
from registry.core import Record
from registry.errors import BadRequest, Conflict, LevelFailed, NotFound, Unavailable
from registry.storage import tables
from registry.storage.postgres import Connection
from registry.storage.tiers import Tiers

PREFIX = "backups/"

LONG_S = 60.0
"""How long reading or writing everything may take."""


def pack(modes: Mapping[str, Mode], records: Iterable[Record]) -> bytes:
    """Write what subjects promise, records, and a last line with their number and digest."""
    lines = json.dumps(dict(modes)).encode() + b"\n" + b"".join(record.encode() + b"\n" for record in records)
    end = {"lines": lines.count(b"\n"), "sha256": sha256(lines).hexdigest()}
    return lines + json.dumps(end).encode() + b"\n"


def unpack(packed: bytes) -> tuple[dict[str, Mode], list[Record]]:
    """Read what `pack` wrote. Raises Conflict if anything of it is missing or was changed."""
    lines = packed.splitlines(keepends=True)
    try:
        end = json.loads(lines[-1])
        if end != {"lines": len(lines) - 1, "sha256": sha256(b"".join(lines[:-1])).hexdigest()}:
            raise ValueError("its digest is another one")
        modes = {name: parse_mode(mode) for name, mode in json.loads(lines[0]).items()}
        return modes, [Record.decode(line) for line in lines[1:-1]]
    except (ValueError, IndexError, AttributeError) as exc:
        raise Conflict(f"the backup is damaged: {exc}") from exc


class Backups:
    """Makes backups and reads them back. Raises Unavailable where a level that is needed fails."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers

    async def make(self, name: str) -> int:
        """Write a backup, and return how many records it has."""
        where = _object(name)

        async def work(connection: Connection) -> tuple[dict[str, Mode], list[Record]]:
            return await tables.modes(connection), await tables.everything(connection)

        modes, records = await self._tiers.run(work, timeout_s=LONG_S)
        try:
            await self._tiers.objects.write(where, pack(modes, records))
        except LevelFailed as exc:
            raise Unavailable(f"the backup cannot be written: {exc}") from exc
        return len(records)

    async def restore(self, name: str) -> int:
        """Add what is missing, and return how many records were. Raises NotFound and Conflict."""
        try:
            packed = await self._tiers.objects.read(_object(name))
        except LevelFailed as exc:
            raise Unavailable(f"the backup cannot be read: {exc}") from exc
        if packed is None:
            raise NotFound(f"there is no backup {name}")
        modes, records = unpack(packed)

        async def work(connection: Connection) -> int:
            added = 0
            for subject, mode in modes.items():
                await tables.set_subject_mode(connection, subject, mode)
            for record in records:
                if await tables.find(connection, record.key) is None:
                    await tables.insert(connection, record)
                    added += 1
                await tables.mark_unsettled(connection, record.key)
            return added

        return await self._tiers.run(work, timeout_s=LONG_S)


def _object(name: str) -> str:
    if not name.replace("-", "").isalnum() or len(name) > 64 or not name.isascii():
        raise BadRequest(f"{name[:64]!r} is not a name of a backup: letters, digits and -")
    return f"{PREFIX}{name}.jsonl"
