"""Requests of any HTTP service: drawn by a seed, with values put into their texts. Pure."""

import json
import random
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

Value = str | int | float
Values = Sequence[Value] | Mapping[str, int]
"""What one is drawn from: a list, or {"from": 1, "to": 9} with both ends included."""

NAMED = re.compile(r"\{([a-z][a-z0-9_]*)\}")

KEPT = 1000
"""Captured values of a name that are kept; the oldest go first."""

SERVED_BELOW = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKind:
    """One kind of request. `path`, `headers`, `body` and `json_body` may name values in braces.

    `expect` are the status codes that count as served, none: all below 400. `capture` says where in its
    answers values for other requests are: a dotted path into the JSON ("items.0.id"), or "header:Location".
    """

    name: str
    path: str
    weight: float = 1.0
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    json_body: object = None
    expect: Sequence[int] = ()
    capture: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 10.0

    @property
    def named(self) -> set[str]:
        """The names in braces."""
        return set(NAMED.findall(json.dumps([self.path, dict(self.headers), self.body, self.json_body])))

    def is_served_by(self, status: int) -> bool:
        """Say whether an answer with this status code is what was asked for."""
        return status in self.expect if self.expect else status < SERVED_BELOW


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request as it is sent, due `at_s` seconds after the beginning, in the phase of this number."""

    kind: RequestKind
    at_s: float
    phase: int
    path: str
    headers: Mapping[str, str]
    body: bytes | None


class Captured:
    """What answers gave, by name: the latest KEPT of each."""

    def __init__(self) -> None:
        self._values: dict[str, deque[Value]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def keep(self, name: str, value: Value) -> None:
        """Keep one more; appending is safe between threads."""
        self._values.setdefault(name, deque(maxlen=KEPT)).append(value)

    def draw(self, name: str, rng: random.Random) -> Value:
        """Return one of those that are kept."""
        kept = self._values[name]
        return kept[rng.randrange(len(kept))]


class Drawing:
    """Draws requests by their weights; one that needs what no answer has given yet waits for its turn."""

    def __init__(
        self, kinds: Sequence[RequestKind], values: Mapping[str, Values], captured: Captured, seed: int
    ) -> None:
        self._values, self._captured = values, captured
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        given = {name for kind in kinds for name in kind.capture}
        self._kinds = [(kind, (kind.named & given) - set(values)) for kind in kinds]

    def draw(self, at_s: float, phase: int) -> HttpRequest:
        """Return the next request. Raises LookupError when each needs what no answer has given."""
        able = [kind for kind, needed in self._kinds if all(name in self._captured for name in needed)]
        if not able:
            raise LookupError("each request needs what no answer has given")
        kind = self._rng.choices(able, [each.weight for each in able])[0]
        drawn: dict[str, Value] = {}

        def value(name: str) -> Value | None:
            if name not in drawn and name in self._values:
                drawn[name] = self._one_of(self._values[name])
            elif name not in drawn and name in self._captured:
                drawn[name] = self._captured.draw(name, self._rng)
            return drawn.get(name)

        headers = {name: put(text, value) for name, text in kind.headers.items()}
        body = None if kind.body is None else put(kind.body, value).encode()
        if kind.json_body is not None:
            body = json.dumps(put_into_json(kind.json_body, value)).encode()
            headers.setdefault("Content-Type", "application/json")
        path = put_into_path(kind.path, value)
        return HttpRequest(kind=kind, at_s=at_s, phase=phase, path=path, headers=headers, body=body)

    def _one_of(self, values: Values) -> Value:
        if isinstance(values, Mapping):
            return self._rng.randint(values["from"], values["to"])
        return values[self._rng.randrange(len(values))]


Lookup = Callable[[str], Value | None]
"""Gives the value of a name; None for one that stands for nothing."""


def put(text: str, value: Lookup, written: Callable[[str], str] = str) -> str:
    """Put values where a text names them; what stands for nothing stays."""

    def one(found: re.Match[str]) -> str:
        given = value(found[1])
        return found[0] if given is None else written(str(given))

    return NAMED.sub(one, text)


def put_into_path(path: str, value: Lookup) -> str:
    """Put values into a path, quoted; one that is the whole path is an address that an answer gave."""
    if (found := NAMED.fullmatch(path)) and (given := value(found[1])) is not None:
        parts = urlsplit(str(given))
        return f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    return put(path, value, lambda text: quote(text, safe=""))


def put_into_json(given: object, value: Lookup) -> object:
    """Put values into the texts of a document; a text that is one name becomes the value as it is."""
    match given:
        case str():
            whole = NAMED.fullmatch(given)
            found = value(whole[1]) if whole else None
            return put(given, value) if found is None else found
        case Mapping():
            return {name: put_into_json(each, value) for name, each in given.items()}
        case list() | tuple():
            return [put_into_json(each, value) for each in given]
    return given


def captured_in(where: str, headers: Mapping[str, str], body: bytes) -> Value | None:
    """Return what an answer has at a place, None for nothing; names of headers are in small letters."""
    if where.startswith("header:"):
        return headers.get(where.removeprefix("header:").strip().lower())
    try:
        found: object = json.loads(body)
    except ValueError:
        return None
    for part in where.split("."):
        match found:
            case dict():
                found = found.get(part)
            case list() if part.isdecimal() and int(part) < len(found):
                found = found[int(part)]
            case _:
                return None
    return found if isinstance(found, Value) and not isinstance(found, bool) else None
