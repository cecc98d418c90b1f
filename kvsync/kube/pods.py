"""Which pods of a Kubernetes cluster are engines to follow, and how they declare where they listen.

A pod is one of ours while it is labelled `model.aibrix.ai/kv-events-enabled: "true"`, names its model in
`model.aibrix.ai/name` (label or annotation), is in phase Running with an address, and is not being deleted.
While its Ready condition is not true it is still followed, since its cache lives on, but gets no
requests.

    model.aibrix.ai/port            HTTP port                           8000
    kvsync.dev/event-port           events of rank 0                    5557
    kvsync.dev/replay-port          replays of rank 0; 0: there is none 5558
    kvsync.dev/data-parallel-rank   the first of its ranks              0
    kvsync.dev/data-parallel-size   ranks, each on the next port        1

These, too, are labels or annotations; a label wins. A wrong value is reported as a problem of that pod,
and the default takes its place: what is meant to improve routing must not take an engine away. The last four
must fit together, so they fall back together. Without the name of a model no request could reach a pod; it
is left out, which is also reported.

AIBrix' label `model.aibrix.ai/lora-id` is not read: it is a number without a name, and events name the
adapter of each block themselves; the adapters a pod serves come from its `/v1/models`.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from kvsync.pods import Pod, problems

SELECTOR = "model.aibrix.ai/kv-events-enabled=true"
"""What the API server selects by; the rest cannot be expressed in a selector."""

_ENABLED, _, _TRUE = SELECTOR.partition("=")
_MODEL = "model.aibrix.ai/name"
_SETTINGS = {
    "port": "model.aibrix.ai/port",
    "event_port": "kvsync.dev/event-port",
    "replay_port": "kvsync.dev/replay-port",
    "dp_rank": "kvsync.dev/data-parallel-rank",
    "dp_size": "kvsync.dev/data-parallel-size",
}
_TOGETHER = {"event_port", "replay_port", "dp_rank", "dp_size"}

_POD = TypeAdapter(Pod)

Texts = Annotated[dict[str, str], BeforeValidator(lambda texts: texts or {})]
"""An absent or null map is an empty one."""


class Metadata(BaseModel):
    """What Kubernetes says of every object, as far as it matters here."""

    name: str = ""
    namespace: str = ""
    version: str = Field(alias="resourceVersion", min_length=1)
    deleted_at: str | None = Field(default=None, alias="deletionTimestamp")
    labels: Texts = {}
    annotations: Texts = {}


class Condition(BaseModel):
    """One of a pod's conditions."""

    type: str
    status: str


class PodStatus(BaseModel):
    """The state of a pod."""

    phase: str = ""
    ip: str = Field(default="", alias="podIP")
    conditions: Annotated[list[Condition], BeforeValidator(lambda found: found or [])] = []


class KubePod(BaseModel):
    """A pod as the API server writes it; a bookmark is one that has nothing but a version."""

    metadata: Metadata
    status: PodStatus = PodStatus()


class KubePodList(BaseModel):
    """All pods there are, as of a version."""

    metadata: Metadata
    items: Annotated[list[KubePod], BeforeValidator(lambda found: found or [])]


class Refusal(BaseModel):
    """Why the API server refused."""

    code: int = 0
    message: str = ""


class PodChange(BaseModel):
    """What happened to a pod; a BOOKMARK says only how far the watch has come."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: KubePod


class WatchFailure(BaseModel):
    """The watch cannot go on."""

    type: Literal["ERROR"]
    object: Refusal


WATCH_EVENT: TypeAdapter[PodChange | WatchFailure] = TypeAdapter(
    Annotated[PodChange | WatchFailure, Field(discriminator="type")]
)
"""Reads one line of a watch."""


class Reading(NamedTuple):
    """What was read of a pod: an engine or not, and what is wrong with it."""

    pod: Pod | None
    problems: tuple[str, ...] = ()


def read_pod(found: KubePod, name: str) -> Reading:
    """Read the rules above; the engine gets this name."""
    meta, status = found.metadata, found.status
    running = status.phase == "Running" and status.ip and meta.deleted_at is None
    if not running or meta.labels.get(_ENABLED) != _TRUE:
        return Reading(None)
    said = meta.annotations | {key: text for key, text in meta.labels.items() if text}
    if not (model := said.get(_MODEL)):
        return Reading(None, (f"is left out: {_MODEL} must name its model, as a label or an annotation",))
    ready = any(each.type == "Ready" and each.status == "True" for each in status.conditions)
    known = {"name": name, "model": model, "host": status.ip, "ready": ready}
    settings: dict[str, object] = {field: said[key] for field, key in _SETTINGS.items() if key in said}
    if settings.get("replay_port") == "0":
        settings["replay_port"] = None
    return _engine(known, settings)


def _engine(known: dict[str, object], settings: dict[str, object]) -> Reading:
    """The engine, without the settings that are wrong."""
    try:
        return Reading(_POD.validate_python(known | settings))
    except ValidationError as error:
        wrong = {str(where[0]): what for where, what in problems(error)}
    if not wrong.keys() <= _SETTINGS.keys():
        return Reading(None, tuple(f"is left out: {field}: {what}" for field, what in wrong.items()))
    at_fault = wrong.keys() | (_TOGETHER if wrong.keys() & _TOGETHER else set())
    kept = {field: value for field, value in settings.items() if field not in at_fault}
    texts = (f"{_SETTINGS[field]}: {what}; the default is used" for field, what in wrong.items())
    return Reading(_POD.validate_python(known | kept), tuple(texts))
