"""Lines that come out of a box, checked before anybody reads them. Pure.

Their author may have written anything: a line is taken only if it has the fields of its event, each of
its type and size, and no other. Control characters, which terminals obey, become marks.
"""

import hashlib
import re
import zlib
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from kvsync.errors import KVSyncError
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import CheckKind

LINE_BYTES = 4 * 1024**2
"""Of one line, which an earlier version filled with the names of all tests."""

PACKED = ".json.gz"
UNPACKED_BYTES = 64 * 1024**2
"""Of what was compared, of all pods together."""

TEXT = 128 * 1024
"""Characters of what a test printed, or of why it failed: twice what the plugin keeps."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

NAME = re.compile(r"(?!\.)[^/\\\x00-\x1f\x7f<>\"'&]{1,200}")
"""Of a file or a folder: not hidden, and harmless in a path, a link and a line."""


class Refused(KVSyncError):
    """What came out of a box is not taken over; the message says why."""


def _plain(text: str) -> str:
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _of_evidence(text: str) -> str:
    for path in text.splitlines():
        first, *names = path.split("/")
        if first != "evidence" or not names or not all(map(NAME.fullmatch, names)):
            raise ValueError("paths of evidence begin with evidence/ and stay in there")
    return text


Text = Annotated[str, StringConstraints(max_length=TEXT), AfterValidator(_plain)]
Short = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_plain)]
Paths = Annotated[Text, AfterValidator(_of_evidence)]
Seconds = Annotated[float, Field(ge=0, le=1e7)]
Number = Annotated[float, Field(ge=-1e12, le=1e12)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class Collected(_Line):
    """Which tests will run."""

    event: Literal["collected"]
    count: Annotated[int, Field(ge=0, le=10**6)]
    nodeids: list[Short]
    only: bool = False


class More(_Line):
    """More of the names of the line before."""

    event: Literal["more"]
    of: Literal["collected", "sharded"]
    nodeids: list[Short]


class Sharded(_Line):
    """Which tests there are, of which a shard has a part."""

    event: Literal["sharded"]
    nodeids: list[Short]


class Started(_Line):
    """A test started."""

    event: Literal["started"]
    nodeid: Short


class EvidenceKept(_Line):
    """A test that will not finish left evidence."""

    event: Literal["evidence"]
    nodeid: Short
    files: Paths


class Finished(_Line):
    """A test ended."""

    event: Literal["finished"]
    nodeid: Short
    outcome: Literal["passed", "unknown", "failed"]
    kind: CheckKind
    duration_s: Seconds
    detail: Text
    log_tail: Text
    properties: Annotated[dict[Short, Text], Field(max_length=100)] = {}


class Happened(BaseModel):
    """A line of a history; every kind, and every program that writes one, has fields of its own."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, hide_input_in_errors=True)
    __pydantic_extra__: dict[str, JsonValue]

    i: int = 0
    t_mono: Number = 0
    wall: Number = 0
    proc: Short = ""
    f: Short = ""
    type: Short = ""
    test: Short = ""
    fault: dict[str, JsonValue] = {}
    explained: dict[str, int] = {}


class _Entered(BaseModel):
    """A line of a ledger, without what only means something in the box: how its process is found there."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)
    event: Literal["intend", "created", "released"]
    id: Short
    wall: Number
    kind: Short = ""
    name: Short = ""


_OF_TESTS: TypeAdapter[Collected | More | Sharded | Started | EvidenceKept | Finished] = TypeAdapter(
    Annotated[Collected | More | Sharded | Started | EvidenceKept | Finished, Field(discriminator="event")]
)


def of_tests(line: bytes) -> bytes:
    """Return a line of a stage's journal as it may be kept; raises Refused."""
    try:
        record = _OF_TESTS.validate_json(line)
        if isinstance(record, Finished) and "evidence" in record.properties:
            _of_evidence(record.properties["evidence"])
        return record.model_dump_json(exclude_unset=True).encode() + b"\n"
    except (ValidationError, ValueError) as exc:
        raise Refused(f"a line about tests is not one: {_why(exc)}") from exc


def of_history(line: bytes) -> bytes:
    """Return a line of any other history as it may be kept; raises Refused."""
    try:
        return Happened.model_validate_json(line).model_dump_json(exclude_unset=True).encode() + b"\n"
    except ValidationError as exc:
        raise Refused(f"a line of a history is not one: {_why(exc)}") from exc


def of_ledger(line: bytes) -> bytes:
    """Return when something came or went, as a line of a ledger tells it; raises Refused."""
    try:
        return _Entered.model_validate_json(line).model_dump_json(exclude_unset=True).encode() + b"\n"
    except ValidationError as exc:
        raise Refused(f"a line of a ledger is not one: {_why(exc)}") from exc


class _Measured(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)
    machine: dict[Short, Short]
    measurements: Annotated[list[Measurement], Field(max_length=10_000)]


def of_measurements(content: bytes) -> list[Measurement]:
    """Return what a file of measurements holds; raises Refused."""
    try:
        return _Measured.model_validate_json(content).measurements
    except ValidationError as exc:
        raise Refused(f"what was measured cannot be read: {_why(exc)}") from exc


def of_comparison(name: str, content: bytes) -> bytes:
    """Return what was compared, packed as it is, if it is what its name says; raises Refused."""
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacking.decompress(content, UNPACKED_BYTES)
    except zlib.error as exc:
        raise Refused(f"it cannot be unpacked: {exc}") from exc
    if not unpacking.eof or unpacking.unused_data:
        raise Refused(f"it is not one packed text of at most {UNPACKED_BYTES} bytes")
    if name != f"{hashlib.sha256(unpacked).hexdigest()}{PACKED}":
        raise Refused("its name is not the digest of what is in it")
    return content


def _why(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return _plain(f"{where[:200]}: {first['msg']}" if where else first["msg"])
    return str(error)
