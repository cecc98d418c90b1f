"""Where the programs of real servers are found: in a package that pip installs without root, or on PATH."""

import importlib.util
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kvsync.testing.processes.tools import ON_PATH
from kvsync.testing.results.texts import shortened


@dataclass(frozen=True, slots=True)
class Programs:
    """Programs by their names, and what they are: of which version, and from where."""

    paths: Mapping[str, str]
    source: str


def in_package(package: str, folders: str, names: Sequence[str], distribution: str) -> Programs | None:
    """Return programs of an installed package, from a folder that matches a pattern; None if one is missing.

    The package is not imported.
    """
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for folder in sorted(Path(place).glob(folders)):
            paths = {name: folder / name for name in names}
            if all(path.is_file() for path in paths.values()):
                return _programs({name: str(path) for name, path in paths.items()}, distribution)
    return None


def on_path(names: Sequence[str], distribution: str = "") -> Programs | None:
    """Return the programs that lie beside this interpreter, or on PATH; None if one is not there."""
    paths = {
        name: shutil.which(name, path=str(Path(sys.prefix, "bin"))) or shutil.which(name) for name in names
    }
    found = {name: path for name, path in paths.items() if path}
    return _programs(found, distribution) if len(found) == len(names) else None


def _programs(paths: Mapping[str, str], distribution: str) -> Programs:
    first = next(iter(paths.values()))
    try:
        return Programs(paths, f"{distribution} {version(distribution)}, {first}")
    except (PackageNotFoundError, ValueError):
        return Programs(paths, first)


def said_version(program: str, *words: str) -> str:
    """Return the first line of what a program says of its version."""
    answer = ON_PATH.ask(program, *words)
    return shortened(answer.lines[0]) if answer.ok and answer.lines else "of unknown version"
