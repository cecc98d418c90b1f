"""What one file of a tool says, whatever its format, and how several become the result of a stage. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from kvsync.ci.readers.bounds import NAME_CHARACTERS, plain, plain_name
from kvsync.ci.readers.coverage.coverage import Coverage
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import Check, StageResult, merge

MOST_CHECKS = 200_000
"""Of one stage; twice the largest suites that are known."""

MOST_MEASUREMENTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFile:
    """What a file says. `doubts`: why it may be incomplete; `remarks`: what was odd and read all the same.

    `coverage` is None for a file of another kind. A file of nothing but measurements or coverage has checks,
    too: that something was measured.
    """

    checks: Sequence[Check] = ()
    measurements: Sequence[Measurement] = ()
    coverage: Coverage | None = None
    doubts: Sequence[str] = ()
    remarks: Sequence[str] = ()
    started_at: datetime | None = None
    duration_s: float = 0.0

    def doubted(self, *doubts: str) -> "ResultFile":
        """Return the same with more doubts; empty ones do not count."""
        return replace(self, doubts=(*self.doubts, *filter(None, doubts)))


def of_coverage(coverage: Coverage) -> ResultFile:
    """Return what a profile says: that it was measured proves nothing, how much does (`coverage.gate`)."""
    tally = coverage.tally
    said = (
        f"{tally.lines_hit} of {tally.lines} lines and {tally.branches_hit} of {tally.branches} branches ran"
    )
    measured = {"lines": tally.percent_lines, "branches": tally.percent_branches, "both": tally.percent}
    return ResultFile(
        checks=[Check(name="coverage: measured", kind="measured" if tally.lines else "not-run", detail=said)],
        measurements=[
            Measurement(name="coverage", metric=metric, value=percent, unit="%", samples=1, better="higher")
            for metric, percent in measured.items()
            if percent is not None
        ],
        coverage=coverage,
    )


def result_of(name: str, readings: Sequence[tuple[str, ResultFile]]) -> StageResult:
    """Return what files say together as the result of a stage, each file with its label.

    Without a check it is UNKNOWN, and so it is with a doubt.
    """
    labelled = [(label, check) for label, reading in readings for check in reading.checks]
    result = merge(
        name,
        _distinct(labelled[:MOST_CHECKS]),
        started_at=min(
            (each.started_at for _, each in readings if each.started_at), default=datetime.now(UTC)
        ),
        duration_s=sum(each.duration_s for _, each in readings),
    )
    for label, reading in readings:
        for doubt in reading.doubts:
            result = result.doubted(plain(_labelled(label, doubt), NAME_CHARACTERS))
    if len(labelled) > MOST_CHECKS:
        result = result.doubted(f"only the first {MOST_CHECKS:,} of {len(labelled):,} checks were read")
    said = (_labelled(label, each) for label, reading in readings for each in reading.remarks)
    return replace(result, remarks=tuple(plain(each, NAME_CHARACTERS) for each in said))


def _labelled(label: str, text: str) -> str:
    return f"{label}: {text}" if label else text


def _distinct(labelled: Sequence[tuple[str, Check]]) -> Iterable[Check]:
    """Yield checks whose names differ: with their file where that tells them apart, or else numbered."""
    names = [plain_name(check.name) for _, check in labelled]
    count = Counter(names)
    if max(count.values(), default=1) > 1:
        files = [f"{label} {name}".strip() for (label, _), name in zip(labelled, names, strict=True)]
        by_file = Counter(files)
        names = [
            file if count[name] > 1 and by_file[file] == 1 else name
            for file, name in zip(files, names, strict=True)
        ]
    seen: Counter[str] = Counter()
    for (_, check), name in zip(labelled, names, strict=True):
        seen[name] += 1
        told = name if seen[name] == 1 else f"{name} #{seen[name]}"
        yield replace(check, name=told, detail=plain(check.detail), log_tail=plain(check.log_tail))
