"""The custom formats of github-action-benchmark as measurements: a list of names with values. Pure.

The file does not say which values are better: the name of its format does, `customBiggerIsBetter` or
`customSmallerIsBetter`.
"""

from typing import Literal

from pydantic import RootModel

from kvsync.ci.readers.bounds import Damaged, Foreign, Many, parsed, plain_name
from kvsync.ci.readers.reading import ResultFile
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import Check


class _Entry(Foreign):
    name: str
    unit: str
    value: float


class _Entries(RootModel[Many[_Entry]]):
    """The whole file."""


def read_action_benchmark(text: str, better: Literal["lower", "higher"]) -> ResultFile:
    """Return what was measured; raises Damaged."""
    entries = parsed(_Entries, text).root
    if not entries:
        raise Damaged("no value is in it")
    return ResultFile(
        checks=[Check(name=f"{each.name} (measured)", kind="passed") for each in entries],
        measurements=[
            Measurement(
                name=plain_name(each.name),
                metric="value",
                value=each.value,
                unit=plain_name(each.unit),
                samples=1,
                better=better,
            )
            for each in entries
        ],
    )
