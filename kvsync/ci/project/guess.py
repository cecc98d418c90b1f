"""What a repository without `stages.toml` looks like: its stages, as a document of such a file.

Nothing is run to find out. What is guessed is shown wherever it is used.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from kvsync.ci.project.values import NAME, RESERVED

Table = dict[str, Any]

BY_HAND_OR_AT_NIGHT = {"triggers": ["manual", "schedule"]}

CUSTOMARY: Mapping[str, Table] = {
    "unit": {"timeout": "5m"},
    "integration": {"timeout": "15m", "retries": 1},
    "property": {"timeout": "5m"},
    "e2e": {
        "timeout": "1h",
        "retries": 1,
        "cluster": True,
        "when": {"triggers": ["manual", "schedule", "pull-request", "merge-queue", "comment"]},
    },
    "benchmark": {"timeout": "15m", "when": BY_HAND_OR_AT_NIGHT},
    "load": {"timeout": "150m", "cluster": True, "when": BY_HAND_OR_AT_NIGHT},
    "chaos": {"timeout": "2h", "cluster": True, "when": {**BY_HAND_OR_AT_NIGHT, "schedules": ["weekly"]}},
    "soak": {"timeout": "3h", "cluster": True, "when": {**BY_HAND_OR_AT_NIGHT, "schedules": ["weekly"]}},
}
"""What folders of tests are customarily called, in the order of a run: the cheap and most telling first."""

TEST_FILES = ("test_*.py", "*_test.py")

VENV = ".venv"

OTHERS = frozenset(
    {"venv", "node_modules", "site-packages", "vendor", "third_party", "target", "build", "dist"}
)
"""Folders of what tools fetch, install or build, besides those whose name begins with a dot."""


def guess(repository: Path) -> Table:
    """Return the document; its `stages` are empty where nothing is recognised."""
    stages: Table = {}
    for look in (_python, _go, _node, _rust, _java, _make):
        for name, table in look(repository):
            if name not in stages and (look is not _make or not stages):
                stages[name] = table
    return {"stages": stages}


def guess_with_preparation(repository: Path) -> Table:
    """Return the same, with how what the stages need is installed: for a file that a person looks through."""
    document = guess(repository)
    prepare, files = _preparation(repository)
    stages = cast("Table", document["stages"])
    if prepare and any("python3" in words for words in prepare):
        for table in stages.values():
            if table["kind"] == "pytest":
                table["python"] = f"{VENV}/bin/python"
    project: Table = {"name": repository.resolve().name}
    if prepare and stages:
        project |= {"prepare": prepare, "prepared_from": files}
    return {"project": project, **document}


def _python(repository: Path) -> Iterator[tuple[str, Table]]:
    """Yield a stage for each folder of tests/, or one for all tests where some lie beside those folders."""
    tests = next((each for each in ("tests", "test") if _has_tests(repository / each)), None)
    if tests is None:
        return
    folder = repository / tests
    inner = [each for each in sorted(folder.iterdir()) if _has_tests(each)]
    apart = not _own_tests(folder) and all(_can_name_a_stage(each.name) for each in inner)
    own = {"python": f"{VENV}/bin/python"} if (repository / VENV / "bin" / "python").exists() else {}
    if not apart:
        yield "unit", {"kind": "pytest", "folder": tests, **own}
        return
    names = [each.name for each in inner]
    for name in sorted(names, key=lambda name: (_rank(name), name)):
        yield name, {"kind": "pytest", "folder": f"{tests}/{name}", **own, **CUSTOMARY.get(name, {})}


def _rank(name: str) -> int:
    return list(CUSTOMARY).index(name) if name in CUSTOMARY else len(CUSTOMARY)


def _has_tests(folder: Path) -> bool:
    """Say whether a folder of the project's has tests, at whatever depth."""
    return _is_own(folder) and (
        _own_tests(folder) or any(_has_tests(each) for each in folder.iterdir() if not each.is_symlink())
    )


def _is_own(folder: Path) -> bool:
    is_foreign = folder.name in OTHERS or folder.name.startswith(".") or (folder / "pyvenv.cfg").exists()
    return folder.is_dir() and not is_foreign


def _own_tests(folder: Path) -> bool:
    return any(True for pattern in TEST_FILES for _ in folder.glob(pattern))


def _can_name_a_stage(name: str) -> bool:
    return bool(re.fullmatch(NAME, name)) and name not in RESERVED and not name.endswith("-tests")


def _go(repository: Path) -> Iterator[tuple[str, Table]]:
    if (repository / "go.mod").is_file():
        command = ["go", "test", "-json", "./..."]
        yield "go", {"kind": "command", "command": command, "results": "{output}", "timeout": "15m"}


def _node(repository: Path) -> Iterator[tuple[str, Table]]:
    try:
        package = json.loads((repository / "package.json").read_text(encoding="utf-8-sig"))
        script = str(package["scripts"]["test"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    words = script.split()
    if words[:2] == ["node", "--test"] and not any(mark in script for mark in "&|;><$`'\""):
        words[2:2] = ["--test-reporter=junit", "--test-reporter-destination={out}/junit.xml"]
        yield "node", {"kind": "command", "command": words, "results": "{out}/junit.xml"}
    elif words[:1] == ["vitest"]:
        words = ["npx", "vitest", "run", "--reporter=junit", "--outputFile={out}/junit.xml"]
        yield "node", {"kind": "command", "command": words, "results": "{out}/junit.xml"}
    else:
        yield "node", {"kind": "command", "command": ["npm", "test"]}


def _rust(repository: Path) -> Iterator[tuple[str, Table]]:
    if (repository / "Cargo.toml").is_file():
        yield "cargo", {"kind": "command", "command": ["cargo", "test"], "timeout": "30m"}


def _java(repository: Path) -> Iterator[tuple[str, Table]]:
    if (repository / "pom.xml").is_file():
        results = "**/target/surefire-reports/TEST-*.xml"
        command = ["mvn", "--batch-mode", "test"]
        yield "maven", {"kind": "command", "command": command, "results": results, "timeout": "30m"}
    elif any((repository / name).is_file() for name in ("build.gradle", "build.gradle.kts")):
        program = "./gradlew" if (repository / "gradlew").is_file() else "gradle"
        results = "**/build/test-results/test/*.xml"
        command = [program, "test", "--rerun-tasks"]  # what is up to date writes no results
        yield "gradle", {"kind": "command", "command": command, "results": results, "timeout": "30m"}


def _make(repository: Path) -> Iterator[tuple[str, Table]]:
    try:
        lines = (repository / "Makefile").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for target in ("test", "check"):
        if any(line.startswith(f"{target}:") for line in lines):
            yield target, {"kind": "command", "command": ["make", target]}
            return


def _preparation(repository: Path) -> tuple[list[list[str]], list[str]]:
    """Return the commands that install what the tests need, and the files that they are made from."""
    prepare: list[list[str]] = []
    files: list[str] = []
    is_there = {name: (repository / name).is_file() for name in ("pyproject.toml", "setup.py", "setup.cfg")}
    lists = [each for each in ("requirements.lock", "requirements.txt") if (repository / each).is_file()][:1]
    more = [
        each for each in ("requirements-dev.txt", "dev-requirements.txt") if (repository / each).is_file()
    ]
    is_package = is_there["setup.py"] or is_a_package(_pyproject(repository))
    if next(_python(repository), None) and (is_package or lists):
        install = [f"{VENV}/bin/pip", "install", "--quiet", "pytest"]
        install += [word for name in (*lists, *more) for word in ("-r", name)]
        install += ["-e", "."] if is_package else []
        prepare += [["python3", "-m", "venv", VENV], install]
        files += [*(name for name, there in is_there.items() if there), *lists, *more]
    if (repository / "package-lock.json").is_file():
        prepare.append(["npm", "ci"])
        files.append("package-lock.json")
    return prepare, files


def packages_to_name(repository: Path) -> list[str]:
    """Return the packages to name in `pyproject.toml`, so that setuptools takes no folder of runs for one.

    It looks for packages by itself where nothing names them, and refuses where it finds more than one.
    """
    document = _pyproject(repository)
    backend = str(_table(document, "build-system").get("build-backend", "setuptools"))
    named = {"packages", "py-modules"} & _table(_table(document, "tool"), "setuptools").keys()
    is_elsewhere = any((repository / name).exists() for name in ("src", "setup.py", "setup.cfg"))
    if not is_a_package(document) or not backend.startswith("setuptools") or named or is_elsewhere:
        return []
    return sorted(
        path.parent.name
        for path in repository.glob("*/__init__.py")
        if _is_own(path.parent) and not _has_tests(path.parent)
    )


def is_a_package(pyproject: Table) -> bool:
    """Say whether pip can install what it describes: many of these files only hold the settings of tools."""
    return "project" in pyproject or "build-system" in pyproject


def _pyproject(repository: Path) -> Table:
    """Return what it says, or what makes pip say what is wrong with it."""
    try:
        return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return {"project": {}}


def _table(document: Table, name: str) -> Table:
    found = document.get(name)
    return found if isinstance(found, dict) else {}
