"""What a load stage of `stages.toml` asks the load generator to send.

`stream_of(...).steady(rate_per_s=50, seconds=60)` are the requests of such a stage at one rate, for instance
while a fault acts; see kvsync.testing.load.http.stream.
"""

from collections.abc import Iterator, Mapping
from itertools import count, takewhile
from pathlib import Path

from kvsync.ci.project.load_stage import (
    ClimbTable,
    LinesTable,
    LoadStageTable,
    PhaseTable,
    RampTable,
    RangeTable,
    RequestTable,
    ValuesOf,
)
from kvsync.ci.project.relations import filled
from kvsync.ci.project.values import Profile
from kvsync.testing.load.http.requests import RequestKind, Values
from kvsync.testing.load.http.stream import HttpStream
from kvsync.testing.load.http.thresholds import Threshold, parse
from kvsync.testing.load.plan import Phase
from kvsync.testing.results.texts import counted
from kvsync.testing.results.verdicts import NotRun


def stream_of(
    table: LoadStageTable, given: Mapping[str, str], repository: Path, profile: Profile, seed: int
) -> HttpStream:
    """Return the requests of a stage in runs of a profile.

    `given` is what texts may name in braces besides values: services, the matrix, profile and seed. Raises
    NotRun for a target that is not an address, and for a file of values that is empty or cannot be read.
    """
    target = filled(table.target, given)
    if not target.startswith(("http://", "https://")):
        raise NotRun(f"its target is {target!r}, which is not an address of HTTP")
    thresholds = [each.text for each in asked_of(table, profile)[0]]
    return HttpStream(
        target=target,
        kinds=[_kind(name, each, given) for name, each in table.requests.items()],
        values={name: _values(each, repository) for name, each in table.values.items()},
        phases=[step for each in table.phases if profile in each.profiles for step in _steps(each)],
        thresholds=thresholds,
        seed=seed,
    )


def asked_of(table: LoadStageTable, profile: Profile) -> tuple[list[Threshold], list[str]]:
    """Return the thresholds in runs of a profile, and a remark on those over phases of other runs."""
    here = {each.name or each.kind for each in table.phases if profile in each.profiles}
    thresholds = [parse(each) for each in table.thresholds]
    asked = [each for each in thresholds if not each.phase or each.phase in here]
    left_out = [each for each in thresholds if each not in asked]
    phases = ", ".join(dict.fromkeys(each.phase for each in left_out))
    said = f"not asked in the profile {profile}: {counted(len(left_out), 'threshold')} over {phases}"
    return asked, [said] if left_out else []


def _kind(name: str, table: RequestTable, given: Mapping[str, str]) -> RequestKind:
    return RequestKind(
        name=name,
        weight=table.weight,
        method=table.method,
        path=filled(table.path, given),
        headers={key: filled(text, given) for key, text in table.headers.items()},
        body=None if table.body is None else filled(table.body, given),
        json_body=_filled_json(table.json_body, given),
        expect=table.expect,
        capture=table.capture,
        timeout_s=table.timeout,
    )


def _filled_json(value: object, given: Mapping[str, str]) -> object:
    match value:
        case str():
            return filled(value, given)
        case dict():
            return {key: _filled_json(each, given) for key, each in value.items()}
        case list():
            return [_filled_json(each, given) for each in value]
    return value


def _values(table: ValuesOf, repository: Path) -> Values:
    match table:
        case RangeTable():
            return {"from": table.from_, "to": table.to}
        case LinesTable():
            try:
                text = (repository / table.file).read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as exc:
                raise NotRun(f"its values in {table.file} cannot be read: {exc}") from exc
            lines = [line for line in text.splitlines() if line.strip()]
            if not lines:
                raise NotRun(f"there is no value in {table.file}; write one in each line")
            return lines
    return table


def _steps(table: PhaseTable) -> Iterator[Phase]:
    """Yield a phase, or each step of a climb, the last one at the rate where it ends."""
    name = table.name or table.kind
    match table:
        case RampTable():
            yield Phase(name=name, seconds=table.duration, rate_per_s=table.from_, to_per_s=table.to)
        case ClimbTable():
            rates = takewhile(lambda rate: rate <= table.to, count(table.from_, table.step))
            for rate in rates:
                yield Phase(name=name, seconds=table.duration, rate_per_s=rate, climbs=True)
        case _:
            yield Phase(name=name, seconds=table.duration, rate_per_s=table.rate)
