"""Semantic versions (semver.org), without build metadata: it has no place in their order."""

from semver import Version

from registry.errors import BadRequest

LATEST = "latest"
LONGEST = 64
LARGEST = 2**31 - 1
"""Of one number: what a column of the database holds."""


def parse_version(text: str) -> Version:
    """Read a version such as 1.4.0 or 2.0.0-rc.1. Raises BadRequest for anything else."""
    try:
        version = Version.parse(text[: LONGEST + 1])
    except ValueError as exc:
        raise BadRequest(f"{text[:LONGEST]!r} is not a semantic version, such as 1.4.0") from exc
    if version.build or len(text) > LONGEST or max(version.to_tuple()[:3]) > LARGEST:
        raise BadRequest(
            f"{text[:LONGEST]!r} has build metadata, or is longer or larger than versions may be"
        )
    return version


def precedence(text: str) -> Version:
    """Return what versions are sorted by."""
    return Version.parse(text)


def next_version(latest: str, *, is_breaking: bool, is_same_contract: bool) -> str:
    """Return the version after `latest`: a patch if only annotations changed, major if it breaks readers."""
    version = precedence(latest).finalize_version()
    if is_breaking:
        return str(version.bump_major())
    return str(version.bump_patch() if is_same_contract else version.bump_minor())
