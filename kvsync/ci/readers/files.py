"""Files that other tools wrote, of any of the formats, as the result of a stage."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kvsync.ci.readers.bounds import Damaged, text_of
from kvsync.ci.readers.coverage.coverage import Coverage, merged
from kvsync.ci.readers.formats import FORMATS, JUNIT, READERS, ROOTED, Unrecognized, format_of
from kvsync.ci.readers.reading import MOST_MEASUREMENTS, ResultFile, of_coverage, result_of
from kvsync.ci.report.junit_reader import read_junit
from kvsync.errors import ConfigError, UnknownName
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import StageResult
from kvsync.testing.results.uncollected import uncollected


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What files say together. `formats`: of each file; `coverage`: of all profiles, None without one."""

    result: StageResult
    measurements: Sequence[Measurement] = ()
    coverage: Coverage | None = None
    formats: Sequence[str] = ()


@uncollected()
def read_files(
    paths: Sequence[Path],
    *,
    name: str,
    format_name: str = "",
    attempts: bool = False,
    root: str = "",
) -> Found:
    """Return what files say, as the result of a stage of this name.

    `format_name`: the format of all files, "" to tell each by what is in it. `attempts`: of JUnit files,
    elements of one name are attempts. `root`: the folder of the sources, from which paths are named.

    Raises ConfigError with every file that is missing or in no format that is read. One that is damaged or
    empty is a doubt: the result is UNKNOWN.
    """
    if format_name and format_name not in FORMATS:
        raise UnknownName("format", format_name, FORMATS)
    texts, problems = _opened(paths, format_name)
    if problems:
        raise ConfigError("files of results", problems)
    junit = [path for path, (_, _, known) in zip(paths, texts, strict=True) if known == JUNIT]
    readings = [("", _of_junit(junit, attempts=attempts))] if junit else []
    labels = _labels(paths)
    readings += [
        (label, _reading(text, known, root).doubted(cut))
        for label, (text, cut, known) in zip(labels, texts, strict=True)
        if known != JUNIT
    ]
    profiles = [each.coverage for _, each in readings if each.coverage]
    coverage = merged(profiles) if profiles else None
    if coverage:
        readings = [(label, _apart(each)) for label, each in readings] + [("", of_coverage(coverage))]
    return Found(
        result=result_of(name, readings),
        measurements=[each for _, reading in readings for each in reading.measurements][:MOST_MEASUREMENTS],
        coverage=coverage,
        formats=[known for _, _, known in texts],
    )


def _opened(paths: Sequence[Path], named: str) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Return text, what was cut off, and format of each file; and what is wrong with any."""
    found, problems = [], []
    for path in paths:
        try:
            text, cut = text_of(path)
            found.append((text, cut, named or format_of(text)))
        except Unrecognized as error:
            problems.append(f"{path}: {error}")
        except Damaged:
            found.append(("", "", named))
        except OSError as error:
            problems.append(f"{path}: {error.strerror or error}; was it written where it is looked for?")
    return found, problems


def _reading(text: str, known: str, root: str) -> ResultFile:
    if not text:
        return ResultFile(doubts=["the file is empty"])
    try:
        return ROOTED[known](text, root) if known in ROOTED else READERS[known](text)
    except Damaged as error:
        return ResultFile(doubts=[f"not read as {known}: {error}"])


def _of_junit(paths: Sequence[Path], *, attempts: bool) -> ResultFile:
    result = read_junit(paths, name="junit", attempts=attempts)
    return ResultFile(
        checks=result.checks,
        doubts=[result.doubt] if result.doubt else [],
        remarks=result.remarks,
        started_at=result.started_at,
        duration_s=result.duration_s,
    )


def _apart(reading: ResultFile) -> ResultFile:
    """Return a reading without what is said of all profiles together."""
    return replace(reading, checks=(), measurements=()) if reading.coverage else reading


def _labels(paths: Sequence[Path]) -> list[str]:
    count = Counter(path.name for path in paths)
    return [path.name if count[path.name] == 1 else str(path) for path in paths]
