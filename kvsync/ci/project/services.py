"""The services of a file: what is wrong with them, which of them a stage gets, and by what names. Pure.

A service is known to who needs it by the fields below: `{services.NAME.FIELD}` in texts, `NAME_FIELD` in
capitals (`DATABASE_URL`, `DATABASE_HOST`) among the variables.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import cast

from kvsync.ci.project.model import ProcessServiceTable, ServiceTable
from kvsync.ci.project.relations import in_order, suggested
from kvsync.pods import Location

FIELDS: Mapping[str, tuple[str, ...]] = {
    "process": ("url", "host", "port"),
    "postgres": ("url", "host", "port", "user", "password", "database"),
    "redis": ("url", "host", "port"),
    "s3": ("url", "host", "port", "bucket", "access_key", "secret_key"),
}
"""What is said of a service of each kind."""

_NAMED = re.compile(r"\{services\.([^.{}\s]*)\.?([^{}\s]*)\}")

_OWN_PORT = re.compile(r"\{(port|url)\}")

_Tables = Mapping[str, Mapping[str, object]]


def start_order(services: Mapping[str, ServiceTable], needs: Iterable[str]) -> list[str]:
    """Return the services among `needs` and those that these need, each after what it needs."""
    links = {name: _needs(table) for name, table in services.items()}
    wanted = _with_needs(links, needs)
    return [name for name in in_order(links) if name in wanted]


def needed(services: _Tables, names: Iterable[str]) -> list[str]:
    """Return the services among these names, and all that these need; of what is malformed, nothing."""
    return _with_needs({name: _texts(table.get("needs")) for name, table in services.items()}, names)


def placeholders(name: str, fields: Mapping[str, str]) -> dict[str, str]:
    """Return what texts in braces may name of a service."""
    return {f"services.{name}.{field}": value for field, value in fields.items()}


def variables(name: str, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which a service is found."""
    prefix = name.upper().replace("-", "_")
    return {f"{prefix}_{field.upper()}": value for field, value in fields.items()}


def wrong_services(document: Mapping[str, object]) -> Iterator[tuple[Location, str]]:
    """Yield what is wrong with the services and their links; of what is malformed, nothing is said here."""
    services, stages = _tables(document, "services"), _tables(document, "stages")
    links = {name: _texts(table.get("needs")) for name, table in services.items()}
    for name, table in services.items():
        if name in stages:
            yield ("services", name), "a stage has the same name, and `needs` names both; rename one"
        for other in links[name]:
            if other not in services:
                meant = suggested(other, services)
                yield ("services", name, "needs"), f"there is no service {other!r}; {meant}"
        if table.get("kind") == "process" and not _OWN_PORT.search(_said(table, "command", "environment")):
            yield ("services", name), "nothing tells it its port; put {port} into its command or environment"
        yield from _wrong_names(("services", name), table, services, _with_needs(links, links[name]))
    for name, table in stages.items():
        known = _with_needs(links, _texts(table.get("needs")))
        yield from _wrong_names(("stages", name), table, services, known)
    try:
        TopologicalSorter({name: [each for each in links[name] if each in links] for name in links}).prepare()
    except CycleError as exc:
        circle = exc.args[1][::-1]
        said = f"the services wait for each other in a circle: {' -> '.join(circle)}; leave one link out"
        yield ("services", circle[0], "needs"), said


def _wrong_names(
    where: Location, table: Mapping[str, object], services: _Tables, known: Sequence[str]
) -> Iterator[tuple[Location, str]]:
    """Yield what a table names of services that it does not have."""
    for field, given in table.items():
        for name, part in sorted(set(_NAMED.findall(str(given)))):
            said = f"{{services.{name}{'.' if part else ''}{part}}} stands for nothing"
            if name not in services:
                yield (*where, field), f"{said}; {suggested(name, services) if services else 'no service is'}"
            elif name not in known:
                yield (*where, field), f"{said}; add {name!r} to `needs`"
            elif part not in (fields := FIELDS.get(str(services[name].get("kind")), (part,))):
                yield (*where, field), f"{said}; {suggested(part, fields)}"


def _needs(table: ServiceTable) -> tuple[str, ...]:
    return table.needs if isinstance(table, ProcessServiceTable) else ()


def _with_needs(links: Mapping[str, Sequence[str]], needs: Iterable[str]) -> list[str]:
    """Return the services among `needs`, and all that these need."""
    found: dict[str, None] = {}
    waiting = [name for name in needs if name in links]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = None
            waiting += [other for other in links[name] if other in links]
    return list(found)


def _said(table: Mapping[str, object], *fields: str) -> str:
    return " ".join(str(table.get(field, "")) for field in fields)


def _texts(given: object) -> list[str]:
    listed = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    return [each for each in listed if isinstance(each, str)]


def _tables(document: Mapping[str, object], name: str) -> _Tables:
    given = document.get(name)
    tables = given if isinstance(given, dict) else {}
    return {key: cast("Mapping[str, object]", each) for key, each in tables.items() if isinstance(each, dict)}
