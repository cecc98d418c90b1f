"""The JSON of pytest-benchmark as measurements: for each benchmark the median of its rounds. Pure."""

from typing import Annotated

from pydantic import Field

from kvsync.ci.readers.bounds import Damaged, Foreign, Many, Table, parsed, plain_name
from kvsync.ci.readers.reading import ResultFile
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import Check

Scalar = bool | int | float | str


class _Stats(Foreign):
    median: Annotated[float, Field(ge=0)]
    rounds: int = 0


class _Benchmark(Foreign):
    fullname: str
    params: Table[object] | None = None
    stats: _Stats
    error: object = None


class _Report(Foreign):
    benchmarks: Many[_Benchmark]


def read_pytest_benchmark(text: str) -> ResultFile:
    """Return what was measured, in seconds; raises Damaged."""
    report = parsed(_Report, text)
    if not report.benchmarks:
        raise Damaged("no benchmark is in it")
    return ResultFile(
        checks=[_check(each) for each in report.benchmarks],
        measurements=[_measurement(each) for each in report.benchmarks if each.stats.rounds > 0],
    )


def _check(benchmark: _Benchmark) -> Check:
    name = f"{benchmark.fullname} (measured)"
    if benchmark.error:
        return Check(name=name, kind="failed", detail=str(benchmark.error))
    if benchmark.stats.rounds < 1:
        return Check(name=name, kind="void", detail="no round was measured")
    return Check(name=name, kind="passed")


def _measurement(benchmark: _Benchmark) -> Measurement:
    given = {
        plain_name(name): plain_name(value) if isinstance(value, str) else value
        for name, value in (benchmark.params or {}).items()
        if isinstance(value, bool | int | float | str)
    }
    return Measurement(
        name=plain_name(benchmark.fullname.partition("[")[0] if given else benchmark.fullname),
        metric="time",
        value=benchmark.stats.median,
        unit="s",
        samples=benchmark.stats.rounds,
        parameters=given,
    )
