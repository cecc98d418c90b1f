"""The rooms of this repository: which package imports which, and the numbers that its rules are about.

    python docs/scripts/rooms.py            # print the graph and the numbers
    python docs/scripts/rooms.py --write    # and bring the graph in CONTRIBUTING.md up to date

A room is a package with everything in it that is not a room below it. The code that is read is what
Python finds, so `PYTHONPATH=/another/checkout` counts that one.
"""

import argparse
import ast
import importlib.util
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import cast

import grimp

ROOTS = ("kvsync", "flows", "tasks", "deployments")
GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"
BEGIN, END = "<!-- rooms: docs/scripts/rooms.py -->\n", "<!-- end of rooms -->\n"
MODULES, FUNCTION_LINES, FILE_LINES = 20, 60, 500
"""What a folder, a function and a file may have at most."""

Arrows = Mapping[str, set[str]]
"""What imports what, by name."""


def imports() -> Arrows:
    """Return the modules that each module imports, itself read but not run."""
    graph = grimp.build_graph(*ROOTS, cache_dir=None)
    return {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}


def packages() -> set[str]:
    """Return the name of each package that is a room; what is below a room's migrations is part of it."""
    folders = (file.parent for root in ROOTS for file in _home(root).rglob("__init__.py"))
    names = {".".join(folder.relative_to(_home(ROOTS[0]).parent).parts) for folder in folders}
    return {name for name in names if "migrations" not in name.split(".")}


def between_rooms(modules: Arrows, rooms: set[str]) -> Arrows:
    """Return the rooms that each room imports directly."""
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for module, imported in modules.items():
        home = _room(module, rooms)
        found[home] |= {_room(each, rooms) for each in imported} - {home}
    return found


def between_siblings(modules: Arrows) -> Arrows:
    """Return what imports what within one folder; a package stands for everything in it."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, imported in modules.items():
        for other in imported:
            if pair := _siblings(module, other):
                found[pair[0]].add(pair[1])
    return found


def circles(arrows: Arrows) -> set[str]:
    """Return the names from which the arrows lead back to themselves."""
    return {name for name in arrows if name in _reached(arrows, arrows[name])}


def drawing(siblings: Arrows, rooms: set[str]) -> str:
    """Return the graph as text: for each folder that has rooms, what in it imports what beside it."""
    folders = sorted({room.rpartition(".")[0] for room in rooms})
    return "\n\n".join(_level(folder, siblings) for folder in folders)


def numbers(modules: Arrows) -> dict[str, object]:
    """Count what the rules of the repository are about."""
    root = _home(ROOTS[0]).parent
    code = [file for name in ROOTS for file in _home(name).rglob("*.py")]
    tests = list((root / "tests").rglob("*.py"))
    folders = Counter(file.parent.relative_to(root).as_posix() for file in code if file.stem != "__init__")
    return {
        "lines of code": sum(map(_lines, code)),
        "lines of tests": sum(map(_lines, tests)),
        "modules": folders.total(),
        "rooms": len(packages()),
        "arrows between rooms": sum(map(len, between_rooms(modules, packages()).values())),
        "largest folders": dict(folders.most_common(3)),
        f"folders over {MODULES} modules": crowded(folders),
        "public class names defined twice": duplicated(code),
        "modules in import circles": sorted(circles(modules)),
        "siblings in import circles": sorted(circles(between_siblings(modules))),
        f"functions over {FUNCTION_LINES} lines": long_functions(code),
        f"files over {FILE_LINES} lines": [file.name for file in code if _lines(file) > FILE_LINES],
    }


def crowded(folders: Mapping[str, int]) -> list[str]:
    """Return the folders that have too many modules."""
    return [folder for folder, count in folders.items() if count > MODULES]


def duplicated(files: Iterable[Path]) -> list[str]:
    """Return the names that more than one public class has."""
    names = Counter(
        node.name
        for file in files
        for node in _parsed(file).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    return sorted(name for name, count in names.items() if count > 1)


def long_functions(files: Iterable[Path]) -> list[str]:
    """Return the functions that are too long, each with its file."""
    return [
        f"{file.name}: {node.name}"
        for file in files
        for node in ast.walk(_parsed(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and cast("int", node.end_lineno) - node.lineno >= FUNCTION_LINES
    ]


def updated(guide: str, graph: str) -> str:
    """Return the text of the guide with this graph in place of the one between the two marks."""
    before, rest = guide.split(BEGIN)
    return f"{before}{BEGIN}\n```text\n{graph}\n```\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Print the graph and the numbers; with --write, also bring the guide up to date."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write the graph into {GUIDE.name}")
    write = parser.parse_args().write
    modules = imports()
    for name, value in numbers(modules).items():
        print(f"{name}: {f'{len(value)} {value}' if isinstance(value, list) else value}")
    siblings = between_siblings(modules)
    if circled := circles(siblings):
        sys.exit(f"a graph with circles cannot be drawn: {sorted(circled)}")
    print(graph := drawing(siblings, packages()))
    if write:
        GUIDE.write_text(updated(GUIDE.read_text(encoding="utf-8"), graph), encoding="utf-8")


def _level(folder: str, siblings: Arrows) -> str:
    """Return one folder's part of the graph, what imports first and what is imported last."""
    arrows = {name: below for name, below in siblings.items() if name.rpartition(".")[0] == folder}
    order = TopologicalSorter({name: sorted(arrows[name]) for name in sorted(arrows)})
    ranked = list(reversed(list(order.static_order())))
    short = {name: name.rpartition(".")[2] for name in ranked}
    width = max(map(len, short.values()))
    lines = [
        f"  {short[name]:<{width}} -> {', '.join(short[each] for each in ranked if each in arrows[name])}"
        for name in ranked
        if arrows.get(name)
    ]
    return "\n".join([f"{folder.replace('.', '/') or '.'}/", *lines])


def _home(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{package} is not on the path")
    return Path(found.origin).parent


def _room(module: str, rooms: set[str]) -> str:
    return max((room for room in rooms if f"{module}.".startswith(f"{room}.")), key=len)


def _siblings(one: str, other: str) -> tuple[str, str] | None:
    """Return the two names below what both have in common; None when one is above the other."""
    ones, others = one.split("."), other.split(".")
    for depth, (left, right) in enumerate(zip(ones, others, strict=False), start=1):
        if left != right:
            return ".".join(ones[:depth]), ".".join(others[:depth])
    return None


def _reached(arrows: Arrows, start: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    waiting = list(start)
    while waiting:
        if (name := waiting.pop()) not in seen:
            seen.add(name)
            waiting += arrows.get(name, ())
    return seen


def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    main()
