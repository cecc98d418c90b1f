"""What becomes of a draft, given the versions that there are. Pure.

Versions of the same major number keep the subject's promise of compatibility; a new major one may break it.
A draft without a version gets the next one: major if it breaks readers, patch if only annotations changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from registry.compatibility import Finding, Mode, check, is_same_contract
from registry.core.record import Draft, Record
from registry.core.versions import next_version, parse_version, precedence
from registry.json_text import digest

FIRST = "1.0.0"


@dataclass(frozen=True, slots=True)
class Accepted:
    """It becomes this version; `findings` say what it was compared with."""

    version: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Existing:
    """It is registered already."""

    record: Record


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not registered, for these reasons."""

    why: str
    problems: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def decide(draft: Draft, records: Sequence[Record], mode: Mode) -> Accepted | Existing | Refused:
    """Say what becomes of a draft. `records`: all versions of its subject, in any order, deleted ones too.

    Raises BadRequest for a version that is none.
    """
    living = sorted((r for r in records if r.state != "deleted"), key=lambda r: precedence(r.version))
    if draft.version:
        return _with_version(draft, records, living, mode)
    if not living:
        return Accepted(_free(FIRST, records))
    latest, same = living[-1], digest(draft.schema)
    if latest.digest == same:
        return Existing(latest)
    findings = check(draft.schema, [(r.version, r.schema) for r in _peers(latest.version, living)], mode)
    version = next_version(
        latest.version,
        is_breaking=any(finding.problems for finding in findings),
        is_same_contract=is_same_contract(latest.schema, draft.schema),
    )
    return Accepted(_free(version, records), findings)


def _with_version(
    draft: Draft, records: Sequence[Record], living: Sequence[Record], mode: Mode
) -> Accepted | Existing | Refused:
    version = str(parse_version(draft.version))
    for record in records:
        if record.version == version:
            if record.state != "deleted" and record.digest == digest(draft.schema):
                return Existing(record)
            kept = (
                "was deleted, and is not given again" if record.state == "deleted" else "has another schema"
            )
            return Refused(f"version {version} of {draft.subject} {kept}")
    earlier = [r for r in living if precedence(r.version) < precedence(version)]
    peers = _peers(version, earlier)
    findings = check(draft.schema, [(r.version, r.schema) for r in peers], mode)
    problems = tuple(f"{f.version}: {problem}" for f in findings for problem in f.problems)
    if problems:
        why = f"version {version} of {draft.subject} is not {mode} compatible"
        return Refused(f"{why}; repair it, or make it a new major one", problems, findings)
    return Accepted(version, findings)


def _peers(version: str, records: Sequence[Record]) -> list[Record]:
    """Return the records whose promise a version has to keep, the newest last."""
    return [r for r in records if precedence(r.version).major == precedence(version).major]


def _free(version: str, records: Sequence[Record]) -> str:
    """Return a version, or the first patch after it that was never given."""
    taken = {record.version for record in records}
    while version in taken:
        version = str(precedence(version).bump_patch())
    return version
