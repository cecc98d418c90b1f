"""The reference of every setting and of the files that people write, made from the models that read them.

python docs/scripts/reference.py            # print it
python docs/scripts/reference.py --write    # bring docs/reference.md up to date
"""

import argparse
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import cast

from pydantic import BaseModel

from deployments.commands import compare
from kvsync.ci import settings as settings_module
from kvsync.ci.project import chaos_stage, found_stages, load_stage, stage_fields
from kvsync.ci.project import coverage as coverage_model
from kvsync.ci.project import model as stages_model
from kvsync.ci.report import export, owners
from kvsync.ci.run import accepted, quarantine
from kvsync.ci.run.parameters import CommitSource, Parameters
from kvsync.ci.settings import OTHERS, VARIABLES, RepositorySettings, Settings
from kvsync.ci.stages import environment

PAGE = Path(__file__).parents[1] / "reference.md"

_TABLES: Mapping[str, type[BaseModel]] = {
    "`[project]`": stages_model.ProjectTable,
    "`[stages.NAME]` of the kind `pytest`": stages_model.PytestStageTable,
    "`[stages.NAME]` of the kind `command`": stages_model.CommandStageTable,
    "`[stages.NAME]` of the kind `benchmark`": found_stages.BenchmarkStageTable,
    "`[stages.NAME.compare]`": found_stages.Compare,
    "`[stages.NAME]` of the kind `audit`": found_stages.AuditStageTable,
    "`[stages.NAME]` of the kind `load`": load_stage.LoadStageTable,
    "`[stages.NAME.requests.NAME]`": load_stage.RequestTable,
    "`[[stages.NAME.phases]]` of the kind `ramp`": load_stage.RampTable,
    "`[[stages.NAME.phases]]` of the kinds `hold`, `spike` and `soak`": load_stage.SteadyTable,
    "`[[stages.NAME.phases]]` of the kind `climb`": load_stage.ClimbTable,
    "`[stages.NAME]` of the kind `chaos`": chaos_stage.ChaosStageTable,
    "`[stages.NAME.steady]`": chaos_stage.Steady,
    "`[stages.NAME.criteria]`": chaos_stage.Criteria,
    **{
        f"`[stages.NAME.faults.NAME]` of the kind `{kind}`": model
        for kind, model in chaos_stage.FAULT_KINDS.items()
    },
    "`[coverage]`": coverage_model.CoverageGate,
    "`coverage` of a stage of the kind `pytest`": coverage_model.PytestCoverage,
    "`coverage` of a stage of the kind `command`": coverage_model.CommandCoverage,
    "`[stages.NAME.when]`": stage_fields.When,
    "`[services.NAME]` of the kind `process`": stages_model.ProcessServiceTable,
    "`[services.NAME]` of the kind `postgres`": stages_model.PostgresServiceTable,
    "`[services.NAME]` of the kind `redis`": stages_model.RedisServiceTable,
    "`[services.NAME]` of the kind `s3`": stages_model.S3ServiceTable,
}

_WORDS = {"integer": "whole number", "array": "list", "boolean": "true or false", "string": "text"}
"""What types of JSON are called here; others as they are."""

_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "as `{}`",
}

Schema = Mapping[str, object]


def reference() -> str:
    """Return the page."""
    return "\n".join(_parts())


def _parts() -> Iterator[str]:
    yield "# Reference\n"
    yield "What can be set, in which file or variable, and how is a file written?\n"
    yield "This page is made by `docs/scripts/reference.py` from the code that reads the settings.\n"
    yield "## kvsync-ci.toml\n"
    yield _said(settings_module)
    for table, variables in _tables().items():
        model = cast("type[BaseModel]", Settings.model_fields[table].annotation)
        yield f"### `[{table}]`\n\n{inspect.getdoc(model)}\n"
        yield fields_table(model, variables)
    yield f"### `[repositories.NAME]`\n\n{inspect.getdoc(RepositorySettings)}\n"
    yield fields_table(RepositorySettings, {})
    yield f"Other variables with the prefix are for tests, and no settings: {_alternatives(OTHERS)}.\n"
    yield f"## Parameters of a run\n\n{inspect.getdoc(Parameters)}\n"
    yield "The form in Prefect's UI has them, and `kvsync-ci run` an option for each that people set.\n"
    yield fields_table(Parameters, {})
    yield f"### `source`\n\n{inspect.getdoc(CommitSource)}\n"
    yield fields_table(CommitSource, {})
    yield f"## stages.toml\n\n{_said(stages_model)}"
    yield "Editors that know JSON Schema check such a file with [stages.schema.json](stages.schema.json).\n"
    yield f"### Load\n\n{_said(load_stage)}"
    for title, kind in _TABLES.items():
        yield f"### {title}\n\n{inspect.getdoc(kind)}\n"
        yield fields_table(kind, {})
    yield f"## quarantine.toml\n\n{_said(quarantine)}"
    yield fields_table(quarantine.QuarantineEntry, {})
    yield f"## accepted.toml\n\n{_said(accepted)}"
    yield "### `[[accepted]]`\n"
    yield fields_table(accepted.AcceptedFinding, {})
    yield "### `[[slower]]`\n"
    yield fields_table(accepted.AcceptedSlowdown, {})
    yield f"## CODEOWNERS\n\n{_said(owners)}"
    yield f"It is looked for at {', '.join(f'`{place}`' for place in owners.PLACES)}.\n"
    yield f"## Variables that tests get\n\n{_said(environment)}"
    yield from _environment()
    yield "## Columns of CSV\n"
    yield f"`kvsync-ci show RUN --csv`: {_listed(export.CSV_HEADER)}\n"
    yield f"`kvsync-ci compare A B --csv`: {_listed(compare.HEADER)}\n"
    yield "Texts that a spreadsheet would compute (`=`, `+`, `-` or `@` first) have an apostrophe in front.\n"


def _environment() -> Iterator[str]:
    for who, pattern, rest in (
        ("Secrets, which no test gets", environment.SECRET, "; and any URL with a password"),
        ("All that tests of an untrusted commit get", environment.HARMLESS, ""),
        ("What git, docker and kubectl get, secret or not", environment.REACHES_SERVERS, ""),
    ):
        case = " (in capitals or not)" if pattern.flags & re.IGNORECASE else ""
        yield f"- {who}: {_alternatives(pattern)}{case}{rest}."
    yield "\nNames are compared whole; `.*` stands for anything.\n"


def _tables() -> dict[str, dict[str, str]]:
    """Return the variable that sets each field, by table and field."""
    found: dict[str, dict[str, str]] = {}
    for variable, (table, field) in VARIABLES.items():
        found.setdefault(str(table), {})[str(field)] = variable
    return found


def fields_table(model: type[BaseModel], variables: Mapping[str, str]) -> str:
    """Return the fields of a model, with the columns of which there is something to say."""
    schema = model.model_json_schema()
    fields = cast("Mapping[str, Schema]", schema["properties"])
    rows = [
        {
            "field": f"`{name}`",
            "variable": f"`{variables[name]}`" if name in variables else "",
            "value": _value(field),
            "default": "required" if name in schema.get("required", ()) else _default(field),
            "meaning": " ".join(str(field.get("description", "")).split()),
        }
        for name, field in fields.items()
    ]
    shown = [column for column in rows[0] if any(row[column] for row in rows)]
    lines = [
        shown,
        ["---"] * len(shown),
        *([row[column].replace("|", "\\|") for column in shown] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _value(field: Schema) -> str:
    """Say in words what a field takes."""
    choices = cast("list[Schema]", field.get("anyOf", []))
    if {each.get("type") for each in choices} == {"string", "array"}:
        return "text, or a list of them"
    if choices:
        return _value(next(each for each in choices if each.get("type") != "null"))
    if "$ref" in field:
        return "a table"
    if "enum" in field:
        return ", ".join(f"`{json.dumps(each)}`" for each in cast("list[object]", field["enum"]))
    if field.get("writeOnly"):
        return "text, a secret: from the environment only"
    kind = str(field.get("type", ""))
    word = str(field.get("format") or _WORDS.get(kind, kind))
    limits = [text.format(field[name]) for name, text in _LIMITS.items() if name in field]
    return ", ".join([word, *limits])


def _default(field: Schema) -> str:
    default = field.get("default")
    if default is None:
        return "not set"
    if isinstance(default, dict) and default:
        return "every run" if "triggers" in default else "those of the installation"
    if isinstance(default, str) and Path(default).is_absolute():
        return "this repository"
    return "empty" if default in ("", [], {}) else f"`{json.dumps(default)}`"


def _said(module: ModuleType) -> str:
    """Return what the docstring of a module says; it is Markdown."""
    return f"{inspect.cleandoc(str(module.__doc__)).replace(' Pure.', '')}\n"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _alternatives(pattern: re.Pattern[str]) -> str:
    """Return what a pattern accepts, one after the other; what is in parentheses stays together."""
    parts, depth = [""], 0
    for character in pattern.pattern:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return _listed(tuple(parts))


def main() -> None:
    """Print the page; with --write, also bring the one in docs up to date."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    write = parser.parse_args().write
    page = reference()
    if write:
        PAGE.write_text(page, encoding="utf-8")
    else:
        print(page, end="")


if __name__ == "__main__":
    main()
