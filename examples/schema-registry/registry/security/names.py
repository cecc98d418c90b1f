"""What names and metadata may be made of: they become keys of Redis, names of objects and parts of paths."""

import re

from registry.errors import BadRequest
from registry.json_text import Json, canonical

SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

LARGEST_METADATA = 16 * 1024


def require_subject(name: object) -> str:
    """Return a name of a subject. Raises BadRequest."""
    if isinstance(name, str) and SUBJECT.fullmatch(name):
        return name
    raise BadRequest(
        f"{str(name)[:80]!r} is not a subject: letters, digits and . _ - after a letter or digit, 128 at most"
    )


def require_metadata(given: Json) -> dict[str, Json]:
    """Return metadata: a small object. Raises BadRequest."""
    if not isinstance(given, dict):
        raise BadRequest("metadata is a JSON object")
    if len(written := canonical(given)) > LARGEST_METADATA:
        raise BadRequest(f"metadata has {len(written)} bytes; {LARGEST_METADATA} are the most")
    return given
