"""Where the programs of real servers are found: in a package that pip installs without root, or on PATH."""

import importlib.util
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kvsync.testing.processes.tools import ON_PATH

_VERSION = re.compile(r"[0-9]+(\.[0-9]+)+")


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
    """Return programs beside this interpreter, where a distribution put them, or on PATH; None without."""
    for place, origin in ((str(Path(sys.prefix, "bin")), distribution), (None, "")):
        paths = {name: path for name in names if (path := shutil.which(name, path=place))}
        if len(paths) == len(names):
            return _programs(paths, origin)
    return None


def _programs(paths: Mapping[str, str], distribution: str) -> Programs:
    try:
        return Programs(paths, f"{distribution} {version(distribution)}")
    except (PackageNotFoundError, ValueError):
        return Programs(paths, next(iter(paths.values())))


def said_version(program: str, *words: str) -> str:
    """Return what a program says of its version."""
    found = _VERSION.search(ON_PATH.ask(program, *words).output)
    return found[0] if found else "of unknown version"
