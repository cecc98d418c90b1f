"""Which pods of a Kubernetes cluster are engines to follow, and how they declare where they listen.

A pod is one of ours while it has the labels of the selector, says which model it serves, is in phase Running
with an address, and is not being deleted. While its Ready condition is not true it is still followed, since
its cache lives on, but gets no requests. What it says of itself is in `SAYS`: in labels or annotations, of
which a label wins, and of two names for one thing the first.

A wrong value is reported as a problem of that pod, and the default takes its place: what is meant to improve
routing must not take an engine away. The ports and ranks of events must fit together, so they fall back
together. Without the name of a model no request could reach a pod; it is left out, which is also reported.

AIBrix' label `model.aibrix.ai/lora-id` is not read: it is a number without a name, and events name the
adapter of each block themselves; the adapters a pod serves come from its `/v1/models`.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from kvsync.pods import Pod, PodDefaults, problems

SAYS = {
    "model": ("kvsync.dev/model", "model.aibrix.ai/name", "llm-d.ai/model"),
    "scheme": ("kvsync.dev/scheme",),
    "port": ("kvsync.dev/port", "model.aibrix.ai/port"),
    "event_port": ("kvsync.dev/event-port",),
    "replay_port": ("kvsync.dev/replay-port",),
    "dp_rank": ("kvsync.dev/data-parallel-rank",),
    "dp_size": ("kvsync.dev/data-parallel-size",),
}
"""The labels and annotations that give a pod's fields. A model with a `/` in its name needs an annotation."""

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


def read_pod(found: KubePod, name: str, defaults: PodDefaults) -> Reading:
    """Read the rules above of a pod that the API server selected; the engine gets this name."""
    meta, status = found.metadata, found.status
    if status.phase != "Running" or not status.ip or meta.deleted_at is not None:
        return Reading(None)
    labels = {key: text for key, text in meta.labels.items() if text}
    said = {field: _first(keys, labels, meta.annotations) for field, keys in SAYS.items()}
    settings: dict[str, object] = {field: text for field, (_, text) in said.items() if text is not None}
    model = settings.pop("model", defaults.model)
    if not model:
        keys = ", ".join(SAYS["model"])
        return Reading(None, (f"is left out: a label or an annotation must name its model, one of {keys}",))
    ready = any(each.type == "Ready" and each.status == "True" for each in status.conditions)
    known = {"name": name, "model": model, "host": status.ip, "ready": ready}
    if settings.get("replay_port") == "0":
        settings["replay_port"] = None
    return _engine(
        known | defaults.model_dump(exclude={"model"}), settings, {f: key for f, (key, _) in said.items()}
    )


def _first(
    keys: Sequence[str], labels: Mapping[str, str], annotations: Mapping[str, str]
) -> tuple[str, str | None]:
    """Return what is said under the first of these keys, and that key."""
    said = {**annotations, **labels}
    key = next((key for key in keys if key in said), keys[0])
    return key, said.get(key)


def _engine(known: dict[str, object], settings: dict[str, object], keys: Mapping[str, str]) -> Reading:
    """The engine, without the settings that are wrong."""
    try:
        return Reading(_POD.validate_python(known | settings))
    except ValidationError as error:
        wrong = {str(where[0]): what for where, what in problems(error)}
    if not wrong.keys() <= settings.keys() | _TOGETHER:
        return Reading(None, tuple(f"is left out: {field}: {what}" for field, what in wrong.items()))
    at_fault = wrong.keys() | (_TOGETHER if wrong.keys() & _TOGETHER else set())
    kept = {field: value for field, value in settings.items() if field not in at_fault}
    texts = (f"{keys[field]}: {what}; the default is used" for field, what in wrong.items())
    return Reading(_POD.validate_python(known | kept), tuple(texts))
