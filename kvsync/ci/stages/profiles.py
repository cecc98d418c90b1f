"""Where the coverage of a stage comes from: files that its program writes, or what coverage.py measured.

Whoever wrote them may have written anything, as of other result files.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kvsync.ci.readers.coverage.coverage import Coverage
from kvsync.ci.stages.result_files import ResultFiles, Stamp
from kvsync.ci.stages.stage import StageContext
from kvsync.errors import ConfigError, KVSyncError
from kvsync.testing.processes.runner import CommandResult

RUNNER = Path(__file__).with_name("coverage_runner.py")
"""What a project's interpreter runs to measure, and to say what was measured."""

PROFILER = Path(__file__).with_name("profile_runner.py")
"""The same for a profile of where time or memory went."""

PROFILED = "-profile-"

MEND = "install coverage.py 7.10 or newer for the interpreter of the tests, such as with `prepare`"

Ask = Callable[[StageContext, str, Sequence[str], Sequence[Path]], CommandResult]
"""Runs the interpreter of the tests where these run: with a label, words, and files that it reads."""


class Unmeasured(KVSyncError):
    """There is no coverage, or none that can be believed; the message says why, and how to mend it."""


class Profiles(Protocol):
    """A source of coverage."""

    def begin(self, context: StageContext) -> None:
        """Remember what is there before the stage."""

    def collect(self, context: StageContext) -> Coverage:
        """Return what ran; raises Unmeasured."""


@dataclass(slots=True)
class FileProfiles:
    """Coverage that a program of the stage writes into files, as `results` are found."""

    stage: str
    patterns: Sequence[str]
    _before: dict[Path, Stamp] | None = None

    def begin(self, context: StageContext) -> None:
        """See Profiles."""
        self._before = self._files(context).stamps()

    def collect(self, context: StageContext) -> Coverage:
        """See Profiles."""
        found, problem = self._files(context).new(self._before or {})
        if problem:
            said = problem.replace("result file", "coverage file")
            raise Unmeasured(f"{said}; let the stage write it, or mend `files`")
        return read_profiles(found, str(context.repository))

    def _files(self, context: StageContext) -> ResultFiles:
        """Return the files; `{out}` is another folder for each attempt."""
        evidence = context.run_dir / "evidence"
        patterns = [
            inner
            for pattern in self.patterns
            for inner in (
                [pattern.replace("{out}/", f"{{out}}/{label}/", 1) for label in self._labels(evidence)]
                if pattern.startswith("{out}/")
                else [pattern]
            )
        ]
        return ResultFiles(context.repository, evidence, context.run_dir, patterns)

    def _labels(self, evidence: Path) -> list[str]:
        return [self.stage, *(f"{self.stage}-{number}" for number in range(2, 5))]


@dataclass(frozen=True, slots=True)
class MeasuredProfiles:
    """Coverage that coverage.py measures around the tests, by words that `measuring` returns.

    `ask` runs the interpreter of the tests. What was measured lies in the run's evidence until it is read.
    """

    stage: str
    ask: Ask

    def begin(self, context: StageContext) -> None:
        """See Profiles."""

    def collect(self, context: StageContext) -> Coverage:
        """See Profiles."""
        target = context.run_dir / "evidence" / f"{self.stage}-profile" / "coverage.json"
        folders = sorted((context.run_dir / "evidence").glob(f"{self.stage}{MEASURED}*"))
        shutil.rmtree(target.parent, ignore_errors=True)
        asked = self.ask(context, "coverage", export_words(target, folders), folders)
        try:
            if asked.exit_code or not target.is_file():
                said = [line.strip() for line in asked.tail.splitlines() if line.strip()]
                raise Unmeasured(f"{said[-1] if said else 'nothing was measured'}; {MEND}")
            return read_profiles([target], str(context.repository))
        finally:
            for folder in (target.parent, *folders):
                shutil.rmtree(folder, ignore_errors=True)


MEASURED = "-measured-"
"""What separates the name of a stage and the number of its attempt where coverage.py writes."""


def measuring(run_dir: Path, stage: str, label: str, tests: str, source: Sequence[str]) -> list[str]:
    """Return the words between an interpreter and `-m pytest` that make it measure."""
    folder = run_dir / "evidence" / f"{stage}{MEASURED}{label}"
    return [str(RUNNER), "run", str(folder / "data"), tests, ",".join(source)]


def profiling(run_dir: Path, stage: str, label: str, kind: str) -> list[str]:
    """Return the words after an interpreter that make it profile what follows."""
    return [str(PROFILER), kind, str(run_dir / "evidence" / f"{stage}{PROFILED}{label}" / f"{kind}.html")]


def profiled_program(
    argv: Sequence[str], words: Sequence[str], folder: Path, path: str | None
) -> tuple[list[str], str]:
    """Return a command line that profiles a program of Python, and why there is none, "" if it does.

    `words` are those of `profiling`, `folder` where it is started, and `path` where programs are looked for.
    """
    program, *rest = argv
    if re.fullmatch(r"python\d*(\.\d+)*", Path(program).name):
        if rest and (rest[0] == "-m" or not rest[0].startswith("-")):
            return [program, *words, *rest], ""
        name = Path(program).name
        return list(argv), f"no profile: only `{name} -m MODULE` and `{name} PROGRAM.py` have one"
    found = folder / program if "/" in program else Path(shutil.which(program, path=path) or "")
    if (python := _interpreter_of(found)) is None:
        return list(argv), f"no profile: {program} is not a program of Python"
    return [*python, *words, str(found), *rest], ""


def _interpreter_of(program: Path) -> list[str] | None:
    """Return the words of the first line of a program that names Python, None for another program."""
    try:
        with program.open("rb") as file:
            line = file.readline(1000).decode(errors="replace")
    except OSError:
        return None
    words = line.removeprefix("#!").split()
    is_python = line.startswith("#!") and any(
        re.match(r"python[\d.]*$", Path(each).name) for each in words[:2]
    )
    return words if is_python else None


def said_of_profiles(run_dir: Path, stage: str) -> list[str]:
    """Return where the profiles of a stage are, or why there is none."""
    found = sorted((run_dir / "evidence").glob(f"{stage}{PROFILED}*/*"))
    said = [f"profile: {each.relative_to(run_dir)}" for each in found if each.suffix == ".html"]
    return said + list(dict.fromkeys(_beginning(each) for each in found if each.suffix == ".txt"))


def _beginning(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(200)


def export_words(target: Path, folders: Sequence[Path]) -> list[str]:
    """Return the words after an interpreter that write what was measured as JSON."""
    return [str(RUNNER), "export", str(target), *map(str, folders)]


def read_profiles(files: Sequence[Path], root: str) -> Coverage:
    """Return what files say together; raises Unmeasured for what is damaged, or no profile."""
    # Imported where there are files: all readers take a tenth of a second of CPU time.
    from kvsync.ci.readers.files import read_files

    try:
        found = read_files(files, name="coverage", root=root)
    except ConfigError as exc:
        said = "; ".join(exc.problems)
        for file in files:  # by name alone: of a long text the middle is left out, and with it the reason
            said = said.replace(str(file), file.name)
        raise Unmeasured(said) from exc
    if found.coverage is None:
        raise Unmeasured(f"no file is a profile of coverage: {', '.join(found.formats)}; mend `files`")
    if found.result.doubt:
        raise Unmeasured(found.result.doubt)
    return found.coverage
