"""Runs a module under coverage.py, and exports what was measured, with the interpreter of any project.

    python coverage_runner.py run DATA TESTS SOURCE,... -m pytest WORD...
    python coverage_runner.py export FILE.json FOLDER...

It is a program of its own that imports nothing of ours: the project's interpreter may be older than ours, and
has its own packages. The project's settings of coverage.py hold. Measuring begins before anything is loaded,
and goes on in the processes that are started. Without coverage.py the module is run all the same.
"""

from __future__ import annotations

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NEEDED = (7, 10)
"""The version of coverage.py that follows processes by itself."""

CHOICES = ("run:source", "run:source_pkgs", "run:source_dirs", "run:include", "run:omit")
"""By which settings a project says what is measured."""


def load() -> Any:
    """Return the module of coverage.py, None with a word where it is missing or too old."""
    try:
        import coverage
    except ImportError:
        print("there is no coverage.py for this interpreter", file=sys.stderr)
        return None
    if coverage.version_info[:2] < NEEDED:
        print(f"coverage.py {coverage.__version__} does not follow processes", file=sys.stderr)
        return None
    return coverage


def started(data: str, tests: str, source: str) -> Any:
    """Begin to measure; returns what measures, None where nothing can."""
    module = load()
    if module is None:
        return None
    folder = Path(data).parent
    given: dict[str, Any] = {"data_file": data, "data_suffix": True, "branch": True}
    folder.mkdir(parents=True, exist_ok=True)
    found = module.Coverage(**given)
    if not found.config.config_file:  # other processes are told of it by a file
        (folder / "settings").write_text("[run]\nbranch = true\n")
        found = module.Coverage(config_file=str(folder / "settings"), **given)
    if source:
        found.set_option("run:source", source.split(","))
    elif not any(found.get_option(name) for name in CHOICES):
        found.set_option("run:source", ["src" if Path("src").is_dir() else "."])
        found.set_option("run:omit", [f"{tests}/*", "*/tests/*", "setup.py"])
        found.set_option("report:include_namespace_packages", Path("src").is_dir())
    found.set_option("run:patch", [*(found.get_option("run:patch") or ()), "subprocess"])
    found.set_option("run:parallel", True)
    found.set_option("run:relative_files", False)  # processes may be started in any folder
    found.start()
    return found


def run(data: str, tests: str, source: str, option: str, module: str, *words: str) -> None:
    """Run a module as `python -m` would."""
    assert option == "-m", option
    sys.path[0] = str(Path.cwd())  # where a module is looked for, instead of beside this file
    measuring = started(data, tests, source)
    more = ["--no-cov"] if measuring and module == "pytest" and find_spec("pytest_cov") else []
    sys.argv = [module, *words, *more]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        if measuring:
            measuring.stop()
            measuring.save()


def export(target: str, *folders: str) -> int:
    """Write what these folders hold as one JSON file, into a folder of its own; return the exit status."""
    module = load()
    if module is None:
        return 1
    data = [str(path) for each in folders for path in sorted(Path(each).glob("data.*"))]
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    found = module.Coverage(data_file=str(Path(target).with_name("data")))
    try:
        found.combine(data, strict=True, keep=True)
        found.save()
        found.json_report(outfile=target, ignore_errors=True)
    except module.CoverageException as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "export":
        sys.exit(export(*sys.argv[2:]))
    run(*sys.argv[2:])
