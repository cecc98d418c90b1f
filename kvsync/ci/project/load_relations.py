"""What the parts of a load stage are to each other: whether values, phases and thresholds fit. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import PurePath
from typing import cast

from kvsync.ci.project.load_stage import TOOLS
from kvsync.ci.project.relations import PLACEHOLDER, suggested
from kvsync.ci.project.values import DEFAULT_TIMEOUT_S, as_seconds
from kvsync.pods import Location
from kvsync.testing.load.http.thresholds import Threshold, parse, wrong_names

PROVIDED = ("profile", "seed")
"""What `{name}` may stand for in requests besides values, captures and those of a matrix."""

PROFILES = ("quick", "full")

_Table = Mapping[str, object]
_Wrong = Iterator[tuple[Location, str]]


def wrong_loads(document: _Table) -> _Wrong:
    """Yield what does not fit together in stages of the kind `load`; of what is malformed, nothing."""
    for name, stage in _tables(document.get("stages")).items():
        if stage.get("kind") == "load":
            for where, what in _wrong_load(stage):
                yield ("stages", name, *where), what


def _wrong_load(stage: _Table) -> _Wrong:
    if "script" in stage:
        yield from _wrong_script(stage)
    else:
        yield from _missing(stage)
        yield from _wrong_requests(stage)
        yield from _wrong_phases(stage)
    yield from _wrong_thresholds(stage)


def _wrong_script(stage: _Table) -> _Wrong:
    for field in ("requests", "phases", "values"):
        if field in stage:
            yield (field,), "the script sends requests of its own; leave this out, or the script"
    if PurePath(str(stage["script"])).suffix not in TOOLS:
        yield ("script",), f"{stage['script']!r} is not a script of k6 (.js, .mjs, .ts) or of Locust (.py)"


def _missing(stage: _Table) -> _Wrong:
    for field, example in (
        ("target", 'target = "{services.api.url}"'),
        ("requests", '[stages.NAME.requests.read] with path = "/"'),
        ("phases", '[[stages.NAME.phases]] with kind = "hold", rate = 10 and for = "10s"'),
    ):
        if not stage.get(field):
            yield (field,), f"is missing; add {example}"
    for field in ("program", "options"):
        if field in stage:
            yield (field,), "this is for a script of k6 or Locust, and there is none; leave it out"


def _wrong_requests(stage: _Table) -> _Wrong:
    values, requests = _mapping(stage.get("values")), _tables(stage.get("requests"))
    provided = {*PROVIDED, *_mapping(stage.get("matrix"))}
    captured = {name for each in requests.values() for name in _mapping(each.get("capture"))}
    for name, given in values.items():
        if name in provided:
            yield ("values", name), f"{{{name}}} stands for something else already; rename the value"
        elif name in captured:
            yield ("values", name), "requests capture a value of this name, too; rename one"
        if isinstance(given, dict) and _is_empty(given):
            yield ("values", name), f"there is no number from {given['from']} to {given['to']}; exchange them"
    known = {*values, *captured, *provided}
    for request, table in requests.items():
        for field in ("path", "headers", "body", "json"):
            for found in sorted(_named(table.get(field))):
                if found not in known:
                    said = (
                        f"{{{found}}} stands for nothing: no value is called so, and no request captures it"
                    )
                    yield ("requests", request, field), f"{said}; {suggested(found, sorted(known))}"
        if "body" in table and "json" in table:
            yield ("requests", request, "json"), "it has a body, too; leave one out"
    waiting = [name for name, table in requests.items() if _all_named(table) & (captured - set(values))]
    if requests and len(waiting) == len(requests):
        yield (
            ("requests",),
            "each needs what an answer gives, so none can be the first; add one that does not",
        )


def _wrong_phases(stage: _Table) -> _Wrong:
    phases = _phases(stage)
    for number, each in enumerate(phases):
        first, last = each.get("from"), each.get("to")
        if isinstance(first, int | float) and isinstance(last, int | float):
            if each.get("kind") == "climb" and last < first:
                yield ("phases", number, "to"), f"it climbs from {first} to {last}; exchange them"
            if each.get("kind") == "ramp" and not first and not last:
                yield ("phases", number, "to"), "it goes from 0 to 0; give a rate above 0"
    for profile in PROFILES:
        names = Counter(_phase_name(each) for each in phases if profile in _profiles(each))
        for name in (each for each, count in names.items() if count > 1 and each):
            numbers = [number for number, each in enumerate(phases) if _phase_name(each) == name]
            yield ("phases", numbers[1]), f"another phase is called {name!r}, too; give them names"
    when = _mapping(stage.get("when")).get("profiles", PROFILES)
    for profile in PROFILES if phases else ():
        here = [each for each in phases if profile in _profiles(each)]
        if profile in cast("tuple[str, ...]", when) and not here:
            yield ("phases",), f"none is for the profile {profile!r}; add one, or leave it out of `when`"
        yield from _too_long(stage, profile, here)


def _too_long(stage: _Table, profile: str, phases: list[_Table]) -> _Wrong:
    """Yield that the phases of a profile take longer than the stage may."""
    try:
        limit_s = float(as_seconds(stage.get("timeout", DEFAULT_TIMEOUT_S)))  # type: ignore[arg-type]  # else a TypeError
        takes_s = sum(_seconds_of(each) for each in phases)
    except (TypeError, ValueError, ZeroDivisionError, KeyError):
        return
    if takes_s >= limit_s:
        said = f"in the profile {profile!r} these take {takes_s:.0f} s, and the stage {limit_s:.0f} s at most"
        yield ("phases",), f"{said}; set a longer `timeout`, or make them shorter"


def _seconds_of(phase: _Table) -> float:
    steps = 1.0
    if phase.get("kind") == "climb":
        steps += (float(str(phase["to"])) - float(str(phase["from"]))) // float(str(phase["step"]))
    return steps * float(as_seconds(phase["for"]))  # type: ignore[arg-type]  # else a TypeError


def _wrong_thresholds(stage: _Table) -> _Wrong:
    requests = None if "script" in stage else list(_tables(stage.get("requests")))
    phases, thresholds = _phases(stage), dict(_thresholds(stage))
    names = list(dict.fromkeys(map(_phase_name, phases)))
    for number, threshold in thresholds.items():
        for what in wrong_names(threshold, requests, names):
            yield ("thresholds", number), what
    for number, phase in enumerate(phases):
        if phase.get("kind") == "climb" and not any(
            each.breaks_climb(_phase_name(phase)) for each in thresholds.values()
        ):
            yield ("phases", number), 'nothing says where it breaks; add a threshold such as "errors < 5 %"'


def _thresholds(stage: _Table) -> Iterator[tuple[int, Threshold]]:
    """Yield the thresholds that can be read, with their numbers."""
    given = stage.get("thresholds")
    for number, text in enumerate(
        [given] if isinstance(given, str) else given if isinstance(given, list) else []
    ):
        with suppress(TypeError, ValueError):
            yield number, parse(text)


def _phases(stage: _Table) -> list[_Table]:
    given = stage.get("phases")
    return [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []


def _named(given: object) -> set[str]:
    """Return what a text, or the texts in a table or list, name in braces besides services."""
    match given:
        case str():
            return {name for name in PLACEHOLDER.findall(given) if not name.startswith("services.")}
        case dict():
            return {name for each in given.values() for name in _named(each)}
        case list():
            return {name for each in given for name in _named(each)}
    return set()


def _all_named(request: _Table) -> set[str]:
    return {name for field in ("path", "headers", "body", "json") for name in _named(request.get(field))}


def _phase_name(phase: _Table) -> str:
    return str(phase.get("name") or phase.get("kind") or "")


def _profiles(phase: _Table) -> tuple[str, ...]:
    given = phase.get("profiles", PROFILES)
    return (
        (given,)
        if isinstance(given, str)
        else tuple(map(str, given))
        if isinstance(given, list | tuple)
        else ()
    )


def _is_empty(numbers: _Table) -> bool:
    first, last = numbers.get("from"), numbers.get("to")
    return isinstance(first, int) and isinstance(last, int) and last < first


def _mapping(given: object) -> _Table:
    return given if isinstance(given, dict) else {}


def _tables(given: object) -> Mapping[str, _Table]:
    return {name: each for name, each in _mapping(given).items() if isinstance(each, dict)}
