"""Whether enough ran: minimum percentages of everything, of paths, and of changed lines, as checks. Pure."""

from typing import Literal

from kvsync.ci.project.coverage import Counted, CoverageGate, pattern
from kvsync.ci.readers.coverage.changes import Changes, of_changes
from kvsync.ci.readers.coverage.coverage import Coverage, Tally, line_ranges
from kvsync.testing.results.outcome import Check

UNKNOWN_BASE = (
    "the commit to compare with is not known: fetch the default branch, and name it in archive.branch of "
    "kvsync-ci.toml unless origin/HEAD does"
)


def judged(gate: CoverageGate, coverage: Coverage, changes: Changes | None = None) -> list[Check]:
    """Return a check for each minimum.

    A pattern that fits no measured file decides nothing: it was renamed, or is not measured any more. Without
    `changes` (the base is not known) their minimum is not run; where no changed line can run, it is skipped.
    """
    checks = [_minimum("total", coverage.tally, gate.minimum, gate.of)] if gate.minimum is not None else []
    for text, least in gate.paths.items():
        is_meant = pattern(text)
        if any(map(is_meant, coverage.files)):
            checks.append(_minimum(text, coverage.of(is_meant), least.minimum, least.of or gate.of))
        else:
            said = "it fits no file that was measured: mend the pattern, or measure these files"
            checks.append(_check(text, "not-run", said))
    if gate.changed is not None:
        checks.append(_changed(gate.changed, coverage, changes, gate.of))
    return checks


def _changed(least: float, coverage: Coverage, changes: Changes | None, of: Counted) -> Check:
    if changes is None:
        return _check("changed lines", "not-run", UNKNOWN_BASE)
    part = of_changes(coverage, changes)
    if share(part.tally, of) is None:
        return _check("changed lines", "skipped", "no changed line can run")
    check = _minimum("changed lines", part.tally, least, of)
    missed = [f"{path}: {line_ranges(each.missed)}" for path, each in part.files.items() if each.missed]
    detail = "\n".join([check.detail, *missed])
    return check if check.kind == "passed" else _check("changed lines", "failed", detail)


def share(tally: Tally, of: Counted) -> float | None:
    """Return the percentage that is meant; None of nothing."""
    shares = {"lines": tally.percent_lines, "branches": tally.percent_branches, "both": tally.percent}
    return shares[of]


def _minimum(name: str, tally: Tally, least: float, of: Counted) -> Check:
    percent = share(tally, of)
    if percent is None:
        return _check(name, "not-run", f"nothing was measured{'' if of == 'both' else f' of {of}'}")
    words = "" if of == "both" else f" of {of}"
    said = f"{percent:.2f} %{words}, at least {least:g} % are asked for"
    return _check(name, "passed" if percent >= least else "failed", said)


def _check(name: str, kind: Literal["passed", "failed", "not-run", "skipped"], detail: str) -> Check:
    return Check(name=f"coverage: {name}", kind=kind, detail=detail)
