"""Coverage of a whole run: that of its stages merged and judged, and a page for each."""

from datetime import UTC, datetime

from kvsync.ci.page.coverage_page import write_coverage_page
from kvsync.ci.project.coverage import CoverageGate
from kvsync.ci.readers.coverage.coverage import Coverage, merged
from kvsync.ci.run.run import Run
from kvsync.ci.stages.covered import assess, checks_of, keep_coverage, kept_coverage
from kvsync.testing.results.outcome import Check, StageResult, merge

NAME = "coverage"
"""The result of all stages together; no stage is called so."""


def judge_coverage(run: Run) -> None:
    """Write the pages of what ran, and judge all stages together if the run has every one that is covered.

    Raises OSError when there is no room for them.
    """
    if run.project is None:
        return
    folder = run.folder
    folder.forget(NAME)
    here = [name for name in run.covered if name in run.parameters.stages]
    found = {name: kept for name in here if (kept := kept_coverage(folder, name)) is not None}
    for name, coverage in found.items():
        _write(run, name, coverage, run.coverage_gate(name))
    total, gate = merged(found.values()), run.coverage_gate("")
    if len(here) < len(run.covered):
        if found:
            _write(run, "", total, None)
        return
    if lost := [name for name in here if name not in found]:
        said = f"nothing is known of what ran in {', '.join(lost)}: see there"
        checks = [Check(name="coverage: all stages", kind="not-run", detail=said)]
    else:
        checks = _write(run, "", total, gate) if found else []
    if gate and here:
        folder.save(merge(NAME, checks, started_at=datetime.now(UTC)))


def judge_coverage_safely(run: Run) -> None:
    """Do so; what goes wrong is a result that says it."""
    try:
        judge_coverage(run)
    except Exception as exc:
        said = f"coverage could not be judged: {type(exc).__name__}: {exc}"
        run.folder.save(StageResult.unknown(NAME, said))


def _write(run: Run, name: str, coverage: Coverage, gate: CoverageGate | None) -> list[Check]:
    """Write a page, and keep what ran in all stages; returns the checks."""
    folder = run.folder
    assessment = assess(coverage, gate or CoverageGate(), folder, None)
    page = folder.coverage_page(name)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_coverage_page(assessment, page, f"{run.parameters.run} {name}".strip())
    if not name:
        keep_coverage(assessment, folder, name)
    return checks_of(assessment, page.relative_to(folder.path))
