"""Reads `stages.toml`: all that is wrong with it at once, each problem with its line and its mend."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kvsync.ci.project.guess import guess
from kvsync.ci.project.lines import line_of
from kvsync.ci.project.model import (
    FILE,
    CommandStageTable,
    PostgresServiceTable,
    ProcessServiceTable,
    Project,
    PytestStageTable,
    RedisServiceTable,
    S3ServiceTable,
)
from kvsync.ci.project.relations import PLACEHOLDER, combinations, combined_name, suggested, wrong_links
from kvsync.ci.project.services import wrong_services
from kvsync.errors import ConfigError
from kvsync.pods import Location, path, problems

LARGEST = 1024**2
"""Bytes; a commit that nobody here vouches for may have written it."""

MOST_STAGES = 100
"""With what a matrix makes of them."""

KINDS: Mapping[str, type[BaseModel]] = {
    str(get_args(model.model_fields["kind"].annotation)[0]): model
    for model in (PytestStageTable, CommandStageTable)
}

SERVICE_KINDS: Mapping[str, type[BaseModel]] = {
    str(get_args(model.model_fields["kind"].annotation)[0]): model
    for model in (ProcessServiceTable, PostgresServiceTable, RedisServiceTable, S3ServiceTable)
}

_KINDS_OF = {"stages": KINDS, "services": SERVICE_KINDS}

PROVIDED = frozenset({"out", "output", "profile", "seed", "workers"})
"""What `{name}` may stand for besides the values of a matrix."""


def has_file(repository: Path) -> bool:
    """Say whether a repository describes its stages itself. A link counts, if only to be refused."""
    return (repository / FILE).is_file() or (repository / FILE).is_symlink()


def read_project(repository: Path) -> Project:
    """Return what a repository says of itself, or, if it says nothing, what it looks like.

    Raises ConfigError with every problem: the line, the field, what is wrong and its mend.
    """
    if not has_file(repository):
        return _guessed(repository)
    file = repository / FILE
    try:
        if not file.resolve().is_relative_to(repository.resolve()):
            raise ConfigError(
                FILE, ["it is a link that leads out of the repository; put the file itself there"]
            )
        if file.stat().st_size > LARGEST:
            raise ConfigError(FILE, [f"it has more than {LARGEST // 1024} KiB; nobody reads that"])
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(FILE, [f"it cannot be read: {error}; write it in UTF-8"]) from error
    project = parse_project(text)
    absent = [
        f"{FILE}:{line_of(text, ('stages', name, 'folder'))}: stages.{name}.folder: there is no folder "
        f"{table.folder!r} in the repository; mend the name, or leave the stage out"
        for name, table in project.stages.items()
        if table.folder and not PLACEHOLDER.search(table.folder) and not (repository / table.folder).is_dir()
    ]
    if absent:
        raise ConfigError(FILE, absent)
    return project


def parse_project(text: str) -> Project:
    """Return what the text of such a file says; raises ConfigError with every problem."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(FILE, [f"this is not TOML: {error}; see https://toml.io"]) from error
    wrong: list[tuple[Location, str]] = []
    project = None
    try:
        project = Project.model_validate(document)
    except ValidationError as error:
        said = error.errors(include_url=False)
        wrong = [
            (_place(line["loc"]), _said(line, what))
            for line, (_, what) in zip(said, problems(error), strict=True)
        ]
    wrong += wrong_links(document)
    wrong += _wrong_words(document)
    wrong += wrong_services(document)
    if project and not wrong and (count := _count(project)) > MOST_STAGES:
        wrong = [(("stages",), f"with their matrices these are {count} stages; at most {MOST_STAGES} may be")]
    if wrong or project is None:
        lines = sorted({(line_of(text, where), f"{path(where)}: {what}") for where, what in wrong})
        raise ConfigError(
            FILE, [f"{FILE}:{line}: {what}" if line else f"{FILE}: {what}" for line, what in lines]
        )
    return project


def _guessed(repository: Path) -> Project:
    document = guess(repository)
    if not document["stages"]:
        raise ConfigError(
            f"the stages of {repository}",
            [f"there is no {FILE}, and no tests are recognised; docs/any-system.md shows how to write one"],
        )
    return Project.model_validate(document)


def _place(where: Location) -> Location:
    """Leave out what pydantic names besides fields: the kind of a table, and that a key is meant."""
    where = tuple(part for part in where if part != "[key]")
    has_kind = len(where) > 2 and where[2] in _KINDS_OF.get(str(where[0]), ())
    return (*where[:2], *where[3:]) if has_kind else where


def _said(line: ErrorDetails, what: str) -> str:
    match line["type"]:
        case "extra_forbidden":
            return f"unknown key; {suggested(str(line['loc'][-1]), _fields(line['loc']))}"
        case "union_tag_not_found":
            kinds = _KINDS_OF[str(line["loc"][0])]
            return f'has no kind; give one, such as kind = "{next(iter(kinds))}": {", ".join(kinds)}'
        case "union_tag_invalid":
            given = str(cast("Mapping[str, object]", line["input"]).get("kind"))
            return f"there is no kind {given!r}; {suggested(given, _KINDS_OF[str(line['loc'][0])])}"
        case "missing":
            return "is missing; add it"
        case "string_pattern_mismatch" if "[key]" in line["loc"] and line["loc"][0] == "services":
            return "a name has small letters, digits and - within, a letter first; rename it"
        case "too_short":
            return "it is empty; give at least one value"
        case "tuple_type":
            return f"a list is needed, not {line['input']!r}"
        case "string_pattern_mismatch" if "[key]" in line["loc"]:
            return "a name has small letters, digits and . _ - within; rename it"
    return what


def _fields(where: Location) -> list[str]:
    """Return the names of the fields of the table that a key stands in."""
    model: type[BaseModel] = Project
    for part in where[:-1]:
        if found := _KINDS_OF.get(str(where[0]), {}).get(str(part)):
            model = found
        elif part in model.model_fields and (inner := _model_in(model.model_fields[str(part)].annotation)):
            model = inner
    return list(model.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _wrong_words(document: Mapping[str, object]) -> Iterator[tuple[Location, str]]:
    """Yield what is named in braces and stands for nothing, and what a matrix makes twice."""
    given = document.get("stages")
    stages = cast("dict[str, object]", given) if isinstance(given, dict) else {}
    for name, table in stages.items():
        if not isinstance(table, dict):
            continue
        matrix = table.get("matrix")
        known = {*PROVIDED, *(matrix if isinstance(matrix, dict) else ())}
        for field in ("python", "folder", "results"):
            for found in PLACEHOLDER.findall(str(table.get(field, ""))):
                if found not in known:
                    meant = suggested(found, sorted(known))
                    yield ("stages", name, field), f"{{{found}}} stands for nothing; {meant}"
        if isinstance(matrix, dict):
            yield from _clashes(name, matrix, stages)


def _clashes(
    name: str, matrix: Mapping[str, object], stages: Mapping[str, object]
) -> Iterator[tuple[Location, str]]:
    lists = {key: [str(each) for each in given] for key, given in matrix.items() if isinstance(given, list)}
    names = [combined_name(name, values) for values in combinations(lists)] if lists else []
    for made in sorted({each for each in names if names.count(each) > 1 or each in stages}):
        yield ("stages", name, "matrix"), f"it makes several stages {made!r}; choose other values"


def _count(project: Project) -> int:
    return sum(len(combinations(table.matrix)) for table in project.stages.values())
