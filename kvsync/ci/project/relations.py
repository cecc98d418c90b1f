"""What the stages of a file are to each other: their links, and what a matrix makes of one. Pure."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter

from kvsync.pods import Location

LINKS = ("needs", "after")

PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_-]*)*)\}")


def wrong_links(document: Mapping[str, object]) -> Iterator[tuple[Location, str]]:
    """Yield what is wrong with the links between stages; of what is malformed, nothing is said here."""
    stages = document.get("stages")
    if not isinstance(stages, dict):
        return
    given = document.get("services")
    services = given if isinstance(given, dict) else {}
    graph: dict[str, list[str]] = {name: [] for name in stages}
    for name, table in stages.items():
        for link in LINKS if isinstance(table, dict) else ():
            given = table.get(link, ())
            for other in [given] if isinstance(given, str) else given if isinstance(given, list) else []:
                if other in stages:
                    graph[name].append(other)
                elif isinstance(other, str) and other in services:
                    if link != "needs":
                        yield ("stages", name, link), f"{other!r} is a service; name it in `needs`"
                elif isinstance(other, str):
                    what = "stage or service" if services and link == "needs" else "stage"
                    known = [*stages, *(services if link == "needs" else ())]
                    yield ("stages", name, link), f"there is no {what} {other!r}; {suggested(other, known)}"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        circle = exc.args[1][::-1]
        place = ("stages", circle[0], LINKS[0] if LINKS[0] in stages[circle[0]] else LINKS[1])
        yield place, f"the stages wait for each other in a circle: {' -> '.join(circle)}; leave one link out"


def suggested(name: str, valid: Sequence[str] | Mapping[str, object]) -> str:
    """Say which names there are, or which one was probably meant."""
    close = get_close_matches(name, list(valid), n=1)
    return f"is {close[0]!r} meant?" if close else f"there are: {', '.join(valid)}"


def in_order(links: Mapping[str, Sequence[str]]) -> list[str]:
    """Return all names, each after those that it is linked to, else in the order in which they are given."""
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in found:
            return
        for other in links[name]:
            if other in links:
                visit(other)
        found[name] = None

    for name in links:
        visit(name)
    return list(found)


def combinations(matrix: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return every combination of the values of a matrix; of an empty one, the empty combination."""
    return [dict(zip(matrix, values, strict=True)) for values in itertools.product(*matrix.values())]


def combined_name(name: str, values: Mapping[str, str]) -> str:
    """Return what a stage is called for these values, such as `unit-3.12`."""
    words = [re.sub(r"[^a-z0-9._]+", "-", value.lower()).strip("._-") or "x" for value in values.values()]
    return "-".join([name, *words])


def filled(text: str, values: Mapping[str, str]) -> str:
    """Put values into a text where it names them; other braces stay."""
    return PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)
