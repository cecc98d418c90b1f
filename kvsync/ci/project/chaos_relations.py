"""What a chaos stage is to the rest of its file: whether its faults can be injected and judged. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from pydantic import ValidationError

from kvsync.ci.project.chaos_stage import (
    PLANNED,
    PLANNED_FOR_P95,
    ChaosStageTable,
    criteria_of,
)
from kvsync.ci.project.relations import suggested
from kvsync.ci.project.services import needed
from kvsync.pods import Location

_Table = Mapping[str, object]
_Wrong = Iterator[tuple[Location, str]]


def wrong_chaos(document: _Table) -> _Wrong:
    """Yield what does not fit together in stages of the kind `chaos`; of what is malformed, nothing."""
    stages, services = _tables(document.get("stages")), _tables(document.get("services"))
    for name, stage in stages.items():
        if stage.get("kind") != "chaos":
            continue
        known = needed(services, _texts(stage.get("needs")))
        for where, what in (
            *_wrong_victims(stage, services, known),
            *_wrong_steady(stage, stages, services, known),
            *_wrong_numbers(stage),
        ):
            yield ("stages", name, *where), what


def _wrong_victims(stage: _Table, services: Mapping[str, _Table], known: Sequence[str]) -> _Wrong:
    for name, fault in _tables(stage.get("faults")).items():
        victim = fault.get("on")
        if isinstance(victim, str) and victim not in services:
            meant = suggested(victim, services) if services else "no service is"
            yield ("faults", name, "on"), f"there is no service {victim!r}; {meant}"
        elif isinstance(victim, str) and victim not in known:
            yield ("faults", name, "on"), f"the stage has no service {victim!r}; add it to its `needs`"


def _wrong_steady(
    stage: _Table, stages: Mapping[str, _Table], services: Mapping[str, _Table], known: Sequence[str]
) -> _Wrong:
    steady = stage.get("steady")
    if not isinstance(steady, dict):
        return
    if ("load" in steady) is ("probe" in steady):
        said = "it has both" if "load" in steady else "it has neither"
        yield ("steady",), f"{said} `load` and `probe`; give one of them, which is asked all the time"
    load = steady.get("load")
    if not isinstance(load, str):
        return
    if load not in stages or stages[load].get("kind") != "load":
        loads = [name for name, each in stages.items() if each.get("kind") == "load"]
        meant = suggested(load, loads) if loads else "there are none; probe something instead"
        yield ("steady", "load"), f"there is no stage {load!r} of the kind load; {meant}"
    elif "script" in stages[load]:
        yield ("steady", "load"), f"{load} sends the requests of a script; name a stage that declares them"
    else:
        missing = [each for each in needed(services, _texts(stages[load].get("needs"))) if each not in known]
        if missing:
            yield ("steady", "load"), f"{load} needs {', '.join(missing)}; add that to this stage's `needs`"


def _wrong_numbers(stage: _Table) -> _Wrong:
    """Yield what a well-formed stage measures too seldom, or cannot do in its time."""
    try:
        table = ChaosStageTable.model_validate(stage)
    except ValidationError:
        return
    least_s = sum(table.baseline + fault.seconds for fault in table.faults.values())
    if least_s >= table.timeout:
        yield ("timeout",), f"its faults take more than {least_s:.0f} s; raise it, or shorten them"
    for name, fault in table.faults.items():
        is_quick = criteria_of(table.criteria, fault.criteria).p95 is not None
        for place, seconds in ((("baseline",), table.baseline), (("faults", name, "for"), fault.seconds)):
            count = table.steady.rate_per_s * seconds
            said = f"{table.steady.rate_per_s:g} requests per second make {count:.0f}"
            if count < PLANNED:
                yield place, f"{said}, which say nothing; raise steady.rate or the time to {PLANNED}"
            elif is_quick and count < PLANNED_FOR_P95:
                mend = "raise steady.rate or the time, or set criteria.p95 = false"
                yield place, f"{said}, and a p95 needs {PLANNED_FOR_P95}; {mend}"


def _tables(given: object) -> dict[str, _Table]:
    tables = given if isinstance(given, dict) else {}
    return {str(key): cast("_Table", each) for key, each in tables.items() if isinstance(each, dict)}


def _texts(given: object) -> list[str]:
    listed = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    return [each for each in listed if isinstance(each, str)]
