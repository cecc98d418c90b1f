"""Each extra brings what its packages import: `testing` the kit, `pipeline` what runs, keeps and reports."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LIBRARY: list[str] = PROJECT["dependencies"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

KIT, PIPELINE = ["kvsync/testing"], ["kvsync/ci", "tasks", "flows", "deployments"]
OURS = {"kvsync", "tasks", "flows", "deployments"}
TRACING = {"opentelemetry"}
"""A namespace of many distributions: a module does not say its own. A contract says where it is imported."""

ELSEWHERE = {"dynamo", "memray", "pyinstrument"}
"""A peer, and profilers of the projects that are tested: what imports them runs in their interpreters."""

NEVER_IMPORTED = {"fastapi", "pytest-asyncio", "pytest-timeout", "pytest-xdist", "hypothesis", "psycopg"}
"""Plugins and drivers that others load, what only the tests in our stages import, and a bound for Prefect."""


@pytest.mark.parametrize(
    ("folders", "required"),
    [
        pytest.param(["kvsync"], LIBRARY, id="library"),
        pytest.param(KIT, LIBRARY + EXTRAS["testing"], id="testing"),
        pytest.param(PIPELINE, LIBRARY + EXTRAS["testing"] + EXTRAS["pipeline"], id="pipeline"),
    ],
)
def test_what_is_imported_is_required(folders: list[str], required: list[str]) -> None:
    """Nothing is imported that is not asked for, or asked for by something that is."""
    asked = set(map(_name, required))
    brought = {_name(each) for name in asked - {"kvsync"} for each in importlib.metadata.requires(name) or ()}

    assert _imported(folders) <= asked | brought


@pytest.mark.parametrize(("extra", "folders"), [("testing", KIT), ("pipeline", PIPELINE)])
def test_what_is_required_is_imported(extra: str, folders: list[str]) -> None:
    """Who installs an extra gets nothing that only other packages need."""
    assert set(map(_name, EXTRAS[extra])) - NEVER_IMPORTED - {"kvsync"} <= _imported(folders)


def _imported(folders: Iterable[str]) -> set[str]:
    """Return the distributions whose modules are imported at run time below these folders."""
    modules = {module for folder in folders for module in _modules(folder)}
    return {
        _name(home)
        for module in modules - sys.stdlib_module_names - OURS - TRACING - ELSEWHERE
        for home in _homes()[module]
    }


@cache
def _homes() -> Mapping[str, list[str]]:
    """Return the distributions of each module that can be imported."""
    return importlib.metadata.packages_distributions()


@cache
def _modules(folder: str) -> frozenset[str]:
    """Return the first names of what is imported below a folder, but not for type checkers alone."""
    inner = [ROOT / each for each in [*KIT, *PIPELINE] if each != folder]
    files = [file for file in (ROOT / folder).rglob("*.py") if not any(map(file.is_relative_to, inner))]
    return frozenset(name.split(".")[0] for file in files for name in _names(ast.parse(file.read_text())))


def _names(module: ast.Module) -> Iterator[str]:
    module.body = [each for each in module.body if not _is_for_type_checkers(each)]
    for node in ast.walk(module):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=str(name)):
                yield name


def _is_for_type_checkers(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"


def _name(requirement: str) -> str:
    """Return the normalized name in a requirement: "Psycopg[binary]>=3" asks for "psycopg"."""
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()
