"""Reads `stages.toml`: all that is wrong with it at once, each problem with its line and its mend."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kvsync.ci.entries import NOT_TOML, line_of_error
from kvsync.ci.lines import line_of
from kvsync.ci.project.chaos_relations import wrong_chaos
from kvsync.ci.project.chaos_stage import FAULT_KINDS, ChaosStageTable, ContainerLabel, PodSelector
from kvsync.ci.project.coverage import wrong_coverage
from kvsync.ci.project.found_stages import AuditStageTable, BenchmarkStageTable, wrong_comparisons
from kvsync.ci.project.guess import guess
from kvsync.ci.project.load_relations import wrong_loads
from kvsync.ci.project.load_stage import (
    ClimbTable,
    LinesTable,
    LoadStageTable,
    RampTable,
    RangeTable,
    SteadyTable,
)
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
from kvsync.ci.project.shards import MOST_SHARDS, SHARD, shard_values, wrong_shards
from kvsync.errors import ConfigError
from kvsync.pods import Location, path, problems

LARGEST = 1024**2
"""Bytes; a commit that nobody here vouches for may have written it."""

MOST_STAGES = 100
"""With what a matrix makes of them."""

KINDS: Mapping[str, type[BaseModel]] = {
    str(get_args(model.model_fields["kind"].annotation)[0]): model
    for model in (
        PytestStageTable,
        CommandStageTable,
        BenchmarkStageTable,
        AuditStageTable,
        LoadStageTable,
        ChaosStageTable,
    )
}

SERVICE_KINDS: Mapping[str, type[BaseModel]] = {
    str(get_args(model.model_fields["kind"].annotation)[0]): model
    for model in (ProcessServiceTable, PostgresServiceTable, RedisServiceTable, S3ServiceTable)
}

_KINDS_OF = {"stages": KINDS, "services": SERVICE_KINDS}

_INNER_KINDS: Mapping[str, Mapping[str, type[BaseModel]]] = {
    "values": {"list": LinesTable, "range": RangeTable, "lines": LinesTable},
    "phases": {
        "ramp": RampTable,
        "hold": SteadyTable,
        "spike": SteadyTable,
        "soak": SteadyTable,
        "climb": ClimbTable,
    },
    "faults": FAULT_KINDS,
}
_VICTIMS: Mapping[str, type[BaseModel]] = {"pods": PodSelector, "containers": ContainerLabel}
_KIND_AT = 4
"""Where pydantic names the kind of one of these: stages.NAME.phases.0.KIND."""

PROVIDED = frozenset({"out", "output", "profile", "python", "seed", "workers"})
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
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(FILE, [f"it cannot be read: {error}; write it in UTF-8"]) from error
    project = parse_project(text)
    absent = [
        f"{FILE}:{line_of(text, where)}: {path(where)}: there is no {what} {given!r} in the repository; "
        "mend the name, or leave the stage out"
        for where, what, given in _named_paths(project)
        if not PLACEHOLDER.search(given)
        and not ((repository / given).is_dir() if what == "folder" else (repository / given).is_file())
    ]
    if absent:
        raise ConfigError(FILE, absent)
    return project


def _named_paths(project: Project) -> Iterator[tuple[Location, str, str]]:
    """Yield the folders and files of the repository that have to be there before anything starts."""
    for name, table in project.stages.items():
        if isinstance(table, LoadStageTable):
            if table.script:
                yield ("stages", name, "script"), "file", table.script
            for value, given in table.values.items():
                if isinstance(given, LinesTable):
                    yield ("stages", name, "values", value, "file"), "file", given.file
        elif table.folder:
            yield ("stages", name, "folder"), "folder", table.folder


def parse_project(text: str) -> Project:
    """Return what the text of such a file says; raises ConfigError with every problem."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(FILE, [f"{FILE}:{line_of_error(text, error)}: {NOT_TOML.format(error)}"]) from error
    wrong: list[tuple[Location, str]] = []
    project = None
    try:
        project = Project.model_validate(document)
    except ValidationError as error:
        said = error.errors(include_url=False)
        wrong = [
            (_place(line["loc"]), _said(line, what))
            for line, (_, what) in zip(said, problems(error), strict=True)
            if not (line["type"] == "too_short" and _has_wrong_items(line["loc"], said))
        ]
    wrong += wrong_links(document)
    wrong += _wrong_words(document)
    wrong += wrong_services(document)
    wrong += wrong_coverage(document)
    wrong += wrong_comparisons(document)
    wrong += wrong_shards(document)
    wrong += wrong_loads(document)
    wrong += wrong_chaos(document)
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
    where = (*where[:2], *where[3:]) if has_kind else where
    if len(where) > _KIND_AT and where[_KIND_AT] in _INNER_KINDS.get(str(where[2]), ()):
        where = (*where[:_KIND_AT], *where[_KIND_AT + 1 :])
    if len(where) > _KIND_AT + 1 and where[_KIND_AT] == "on":
        return (*where[: _KIND_AT + 1], *where[_KIND_AT + 2 :])
    return where


def _has_wrong_items(where: Location, every: Sequence[ErrorDetails]) -> bool:
    """Say whether values of a list are wrong themselves, which pydantic does not count."""
    return any(each["loc"][: len(where)] == where != each["loc"] for each in every)


def _kinds(where: Location) -> Mapping[str, type[BaseModel]]:
    """Return the kinds of tables of which one is meant at a place."""
    inside = str(where[_KIND_AT - 1]) if len(where) >= _KIND_AT else ""
    return _INNER_KINDS.get(inside) or _KINDS_OF[str(where[0])]


def _said(line: ErrorDetails, what: str) -> str:
    match line["type"]:
        case "extra_forbidden":
            return f"unknown key; {suggested(str(line['loc'][-1]), _fields(line['loc']))}"
        case "union_tag_not_found":
            kinds = _kinds(line["loc"])
            return f'has no kind; give one, such as kind = "{next(iter(kinds))}": {", ".join(kinds)}'
        case "union_tag_invalid":
            given = str(cast("Mapping[str, object]", line["input"]).get("kind"))
            return f"there is no kind {given!r}; {suggested(given, _kinds(line['loc']))}"
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
    inside = str(where[_KIND_AT - 1]) if len(where) > _KIND_AT else ""
    kinds = {**_KINDS_OF.get(str(where[0]), {}), **_INNER_KINDS.get(inside, {}), **_VICTIMS}
    for part in where[:-1]:
        if found := kinds.get(str(part)):
            model = found
        elif part in (fields := model.model_fields) and (inner := _model_in(fields[str(part)].annotation)):
            model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: object) -> type[BaseModel] | None:
    """Return the model that a field has, or has in a table of them; of a choice of kinds none is the one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = get_args(annotation)
    if get_origin(annotation) is UnionType:
        return next(filter(None, map(_model_in, inner)), None)
    return _model_in(inner[1]) if get_origin(annotation) is dict else None


def _wrong_words(document: Mapping[str, object]) -> Iterator[tuple[Location, str]]:
    """Yield what is named in braces and stands for nothing, and what a matrix makes twice."""
    given = document.get("stages")
    stages = cast("dict[str, object]", given) if isinstance(given, dict) else {}
    for name, table in stages.items():
        if not isinstance(table, dict):
            continue
        matrix, shards = table.get("matrix"), table.get("shards")
        more = shard_values(shards) if isinstance(shards, int) and 2 <= shards <= MOST_SHARDS else {}
        known = {*PROVIDED, *(matrix if isinstance(matrix, dict) else ()), *more}
        for field in ("python", "folder", "results"):
            for found in PLACEHOLDER.findall(str(table.get(field, ""))):
                if found not in known:
                    meant = suggested(found, sorted(known))
                    yield ("stages", name, field), f"{{{found}}} stands for nothing; {meant}"
        yield from _clashes(name, {**(matrix if isinstance(matrix, dict) else {}), **more}, stages)


def _clashes(
    name: str, matrix: Mapping[str, object], stages: Mapping[str, object]
) -> Iterator[tuple[Location, str]]:
    lists = {
        key: [str(each) for each in given] for key, given in matrix.items() if isinstance(given, list | tuple)
    }
    names = [combined_name(name, values) for values in combinations(lists)] if lists else []
    for made in sorted({each for each in names if names.count(each) > 1 or each in stages}):
        field, mend = (
            ("shards", "rename one") if set(matrix) == {SHARD} else ("matrix", "choose other values")
        )
        yield ("stages", name, field), f"it makes several stages {made!r}; {mend}"


def _count(project: Project) -> int:
    return sum(len(combinations(table.every_value)) for table in project.stages.values())
