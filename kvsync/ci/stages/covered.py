"""A stage with what has to have run of the repository while it runs."""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from kvsync.ci.project.coverage import CoverageGate
from kvsync.ci.readers.coverage.assessment import Assessment, assessed
from kvsync.ci.readers.coverage.changes import Changes, changed_lines
from kvsync.ci.readers.coverage.coverage import Coverage
from kvsync.ci.readers.reading import of_coverage
from kvsync.ci.revision import tracked_files
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.profiles import Profiles, Unmeasured
from kvsync.ci.stages.stage import Stage, StageContext
from kvsync.testing.results.measurement import machine_facts, read_measurements, write_measurements
from kvsync.testing.results.outcome import Check, StageResult, merge
from kvsync.testing.results.whole import write_whole


@dataclass(frozen=True, slots=True)
class CoveredStage:
    """Runs `inner`, and adds the checks of `gate` on what `profiles` say; the run keeps the coverage.

    A stage that was not covered is undecided, whatever its tests say: nobody knows whether enough ran.
    """

    name: str
    inner: Stage
    gate: CoverageGate
    profiles: Profiles

    def run(self, context: StageContext) -> StageResult:
        """See Stage."""
        folder = RunFolder(context.run_dir)
        before = kept_coverage(folder, self.name) if context.failed_only and not context.other_code else None
        folder.coverage(self.name).unlink(missing_ok=True)
        self.profiles.begin(context)
        result = self.inner.run(context)
        if context.stop.is_set():
            return result
        try:
            coverage = self.profiles.collect(context)
        except Unmeasured as exc:
            return with_checks(result, [Check(name="coverage: measured", kind="not-run", detail=str(exc))])
        coverage = before | coverage if before else coverage
        found = assess(coverage, self.gate, folder, tracked_files(context.repository))
        if found.is_foreign:
            return with_checks(result, list(found.checks))
        keep_coverage(found, folder, self.name)
        result = with_checks(
            result, checks_of(found, folder.coverage_page(self.name).relative_to(folder.path))
        )
        return replace(result, remarks=(*result.remarks, *found.remarks))


def assess(
    coverage: Coverage, gate: CoverageGate, folder: RunFolder, files: Collection[str] | None
) -> Assessment:
    """Judge coverage by a gate, and by the changes that the run knows of."""
    return assessed(coverage, gate, files=files, changes=kept_changes(folder))


def kept_changes(folder: RunFolder) -> Changes | None:
    """Return the lines that the tested code changes; None where that is not known."""
    try:
        return changed_lines(folder.changes.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def checks_of(found: Assessment, page: Path) -> list[Check]:
    """Return what is shown of coverage in a result: how much ran, with its page, and what the gate says."""
    (measured,) = of_coverage(found.coverage).checks
    return [replace(measured, properties={"evidence": page.as_posix()}), *found.checks]


def with_checks(result: StageResult, checks: list[Check]) -> StageResult:
    """Return a result with more checks, its doubts, log and remarks kept."""
    more = merge(
        result.name,
        [*result.checks, *checks],
        started_at=result.started_at,
        duration_s=result.duration_s,
        log=result.log,
    )
    more = replace(more, remarks=result.remarks)
    return more.doubted(result.doubt) if result.doubt else more


def keep_coverage(found: Assessment, folder: RunFolder, name: str) -> None:
    """Keep what ran, for what is merged and shown later, and its measurements; "" is all stages."""
    target = folder.coverage(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, json.dumps(found.coverage.to_json()))
    kept = folder.path / "benchmark.json"
    title = f"coverage of {name}" if name else "coverage"
    before = [each for each in read_measurements(kept) if each.name != title]
    measured = [replace(each, name=title) for each in of_coverage(found.coverage).measurements]
    write_measurements(kept, [*before, *measured], machine_facts())


def kept_coverage(folder: RunFolder, name: str) -> Coverage | None:
    """Return what ran in a stage, None where that is not known."""
    try:
        return Coverage.from_json(json.loads(folder.coverage(name).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
