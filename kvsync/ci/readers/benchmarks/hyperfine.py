"""The JSON of hyperfine as measurements: the median time of each command. Pure.

Up to version 1 a result holds its statistics; version 2 has a summary for each metric, also of memory. A
command that did not succeed in each run was measured failing: its check is void.
"""

import statistics
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from kvsync.ci.readers.bounds import Damaged, Foreign, Many, Table, parsed, plain_name
from kvsync.ci.readers.reading import ResultFile
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import Check

Seconds = Annotated[float, Field(ge=0)]


class _Summary(Foreign):
    median: Seconds
    count: int


class _Run(Foreign):
    exit_code: int | None = None


class _Result(Foreign):
    command: str
    median: Seconds | None = None
    mean: Seconds | None = None
    times: Many[Seconds] | None = None
    exit_codes: Many[int | None] = ()
    measurements: Many[_Run] = ()
    summary: Table[_Summary] = Field(default_factory=dict)
    parameters: Table[object] | None = None

    @property
    def codes(self) -> list[int | None]:
        """The exit status of each run, None for one that a signal ended."""
        return [*self.exit_codes, *(each.exit_code for each in self.measurements)]

    @property
    def failed(self) -> list[int | None]:
        """The exit status of the runs that did not succeed."""
        return [code for code in self.codes if code != 0]


class _Export(Foreign):
    results: Many[_Result]


METRICS = {"time_wall_clock": ("time", "s"), "memory_peak_resident": ("peak memory", "B")}
"""Of version 2, those that are kept: time on the processor is part of the time on the clock."""


def read_hyperfine(text: str) -> ResultFile:
    """Return what was measured; raises Damaged."""
    export = parsed(_Export, text)
    if not export.results:
        raise Damaged("no command was measured")
    return ResultFile(
        checks=[_check(each) for each in export.results],
        measurements=[
            each for result in export.results if not result.failed for each in _measurements(result)
        ],
    )


def _check(result: _Result) -> Check:
    name = f"{result.command} (measured)"
    if failed := result.failed:
        said = f"it ended with status {failed[0]} in {len(failed)} of {len(result.codes)} runs"
        return Check(name=name, kind="void", detail=said)
    if not any(True for _ in _measurements(result)):
        return Check(name=name, kind="void", detail="no run was measured")
    return Check(name=name, kind="passed")


def _measurements(result: _Result) -> Iterator[Measurement]:
    found = {
        METRICS[metric]: (each.median, each.count)
        for metric, each in result.summary.items()
        if metric in METRICS
    }
    if result.times:
        found["time", "s"] = (statistics.median(result.times), len(result.times))
    elif (value := result.median if result.median is not None else result.mean) is not None:
        found["time", "s"] = (value, max(1, len(result.codes)))
    for (metric, unit), (value, samples) in found.items():
        if samples > 0:
            yield Measurement(
                name=plain_name(result.command),
                metric=metric,
                value=value,
                unit=unit,
                samples=samples,
                parameters={
                    plain_name(name): plain_name(str(each))
                    for name, each in (result.parameters or {}).items()
                },
            )
